"""The training itself: set up, loop, write the best weights. Every worker runs it; worker 0 writes."""

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import closing

import numpy as np
import torch
import torch.distributed as dist

from ratchet.core.models.learning_rate import rate_share
from ratchet.core.models.training_history import EpochMetrics
from ratchet.core.models.training_progress import TrainingProgress
from ratchet.tasks.code_collect import TaskCode
from ratchet.tasks.model_files import save_model
from ratchet.tasks.training_spec import TrainingSpec
from ratchet.training.averaging import clone, copy_buffers, move_average, weights_of
from ratchet.training.calibrating import temperature_of
from ratchet.training.checkpoint import TrainingState, WithinEpoch
from ratchet.training.checkpoint_places import Place
from ratchet.training.checks import check_answers, check_weights
from ratchet.training.compiling import compiling
from ratchet.training.feeding import LoadedBatch, feed
from ratchet.training.fixed import fixed_of
from ratchet.training.job import TrainingJob
from ratchet.training.measuring import measure
from ratchet.training.progress import peak_memory_mb
from ratchet.training.randomness import seed_epoch, set_random_state
from ratchet.training.resuming import Checkpoints
from ratchet.training.running import CPU, Run
from ratchet.training.set_up import set_up
from ratchet.training.starting import apart, distribute, freeze, loss_step_of
from ratchet.training.step import check_mean_loss

log = logging.getLogger(__name__)

_PROOF_ROWS_MAX = 256
"""Training rows that the finished model has to answer where there are no validation rows."""
_NAMES_LOGGED_MAX = 100


def train(
    job: TrainingJob,
    *,
    rank: int,
    world_size: int,
    is_stopping: Callable[[], bool] = lambda: False,
    device: torch.device = CPU,
) -> None:
    """Train from the base model, or from scratch, and write the weights with the lowest validation loss.

    is_stopping: asked at each step whether this worker is to end. Then all of them raise TrainingStopped, after a
    checkpoint.
    """
    network, run, start, code = set_up(job, rank=rank, world_size=world_size, device=device)
    if rank == 0:
        log.info("start: %s", start.text(names_max=_NAMES_LOGGED_MAX))
        job.start_path.write_text(start.model_dump_json())
    with compiling(job, device):
        state = _train_epochs(network, run, Checkpoints(run, is_stopping))
    if not state.is_given_up:
        _finish(state, run, code=code)


def _train_epochs(network: torch.nn.Module, run: Run, checkpoints: Checkpoints) -> TrainingState:
    """From the newest checkpoint, or from the beginning, to the last epoch."""
    training = run.training
    frozen = freeze(network, run.job.spec)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = make_optimizer(trained, training)
    state = TrainingState(network, optimizer, best_weights=weights_of(network))
    state.average = weights_of(network) if training.ema_decay is not None else None
    state.fixed = fixed_of(network, trained_later=frozen if training.unfreeze_after is not None else ())
    first = checkpoints.find(state)
    # A checkpoint holds the optimizer's groups of its place: those of the frozen parameters came with their first step.
    if training.unfreeze_after is not None and first > (training.unfreeze_after, 0):
        _unfreeze(frozen, optimizer)
    within = checkpoints.restore(state)
    if first > (0, 0) and run.rank == 0:
        log.info("going on after %s", first)
    model = _distribute(state, run)
    if state.power_sgd is not None and state.power_sgd_kept:
        state.power_sgd.restore(state.power_sgd_kept, rank=run.rank, device=run.device)
    run.live.begin(num_before=first.epoch * run.num_steps + first.step)
    for epoch in range(first.epoch, training.num_epochs):
        if _ends_before(epoch, state, run):
            break
        if epoch == training.unfreeze_after and within is None and frozen:
            _unfreeze(frozen, optimizer)
            model = _distribute(state, run)
        resumed_at_step = first.step if first > (0, 0) and epoch == first.epoch else None
        _train_epoch(epoch, model, state, run, checkpoints, within, resumed_at_step=resumed_at_step)
        within = None
        checkpoints.save(state, Place(epoch + 1))
    return state


def _ends_before(epoch: int, state: TrainingState, run: Run) -> bool:
    """Whether the training ends after so many epochs: no lower loss for long, or given up by what its job says.

    Every worker has worker 0's validation losses, so all of them end.
    """
    patience, limit = run.training.early_stop_epochs, run.job.give_up_above.get(epoch)
    if patience is not None and state.num_epochs_since_best >= patience:
        log.info("no lower validation loss in %d epochs: the training ends early", state.num_epochs_since_best)
        return True
    if limit is not None and state.best_val_loss > limit:
        log.info("given up after epoch %d: loss %.4g, at most %.4g goes on", epoch, state.best_val_loss, limit)
        state.is_given_up = True
    return state.is_given_up


def _distribute(state: TrainingState, run: Run) -> torch.nn.Module:
    model = distribute(state.network, run)
    state.power_sgd = loss_step_of(model).power_sgd
    return model


def make_optimizer(trained: Iterable[torch.nn.Parameter], training: TrainingSpec) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, 2019), all parameters in one pass over memory."""
    return torch.optim.AdamW(trained, lr=training.learning_rate, weight_decay=training.weight_decay, fused=True)


def _unfreeze(frozen: tuple[torch.nn.Parameter, ...], optimizer: torch.optim.Optimizer) -> None:
    for each in frozen:
        each.requires_grad_(True)
    optimizer.add_param_group({"params": list(frozen)})


def _train_epoch(
    epoch: int,
    model: torch.nn.Module,
    state: TrainingState,
    run: Run,
    checkpoints: Checkpoints,
    within: WithinEpoch | None,
    *,
    resumed_at_step: int | None = None,
) -> None:
    """One pass over the training rows, or the rest of one (within), its validation, and its line of the history."""
    losses, loss_step = [] if within is None else within.losses, loss_step_of(model)
    if within is None:
        seed_epoch(run.training.seed, epoch=epoch, rank=run.rank)
    else:
        set_random_state(within.random_WN[run.rank], device=run.device)
    state.network.train()
    began, num_rows = time.monotonic(), 0
    run.waiting.total_s = 0.0
    with closing(feed(run, epoch, num_done=len(losses))) as batches:
        for batch in run.waiting.timed(batches):
            place = Place(epoch, len(losses) + 1)
            loss_step.wishes = checkpoints.wishes(place)
            losses.append(take_step(epoch * run.num_steps + len(losses), batch, model, state, run))
            num_rows += batch.num_rows
            if any(loss_step.wishes):
                checkpoints.grant(loss_step.wishes, state, place, losses)
            if run.live.is_due:
                _tell(place, run, losses, rows_per_s=num_rows / (time.monotonic() - began))
    spent_s = time.monotonic() - began
    _take_buffers_of_first(state.network)
    if state.average is not None:
        copy_buffers(state.average, state.network)
    val_loss, val_accuracy = None, None
    if len(run.val_rows):
        val_loss, val_accuracy = measure(state.network, state.average, run, epoch=epoch + 1)
    _keep_best(state, val_loss)
    metrics = EpochMetrics(
        epoch=epoch + 1,
        train_loss=float(np.mean(losses)),
        val_loss=val_loss,
        val_accuracy=val_accuracy,
        learning_rate=state.optimizer.param_groups[0]["lr"],
        rows_per_s=num_rows / spent_s,
        peak_memory_mb=peak_memory_mb(),
        wait_ratio=run.waiting.total_s / spent_s,
        resumed_at_step=resumed_at_step,
    )
    if run.rank == 0:
        _record(metrics, run.job)


def _tell(place: Place, run: Run, losses: list[float], *, rows_per_s: float) -> None:
    """place: after the step that was just made."""
    told = TrainingProgress(
        epoch=place.epoch + 1,
        num_epochs=run.training.num_epochs,
        step=place.step,
        num_steps=run.num_steps,
        rows_per_s=rows_per_s,
        is_at_most=run.training.early_stop_epochs is not None,
    )
    run.live.tell(told, losses)


def take_step(place: int, batch: LoadedBatch, model: torch.nn.Module, state: TrainingState, run: Run) -> float:
    """One batch, in parts, and one step of the optimizer; gives the loss of all workers. place: of the step, from 0."""
    training, loss_step = run.training, loss_step_of(model)
    state.optimizer.zero_grad()
    for number, (inputs, labels) in enumerate(batch.parts, 1):
        weight = len(labels) * run.world_size / batch.num_rows
        with apart(model, is_last=number == len(batch.parts)):
            model(inputs, labels, weight).backward()
    mean_loss = loss_step.take_mean_loss()
    epoch, step = divmod(place, run.num_steps)
    check_mean_loss(mean_loss, run.rows.inputs, batch.rows, epoch=epoch + 1, step=step + 1, spec=run.job.spec)
    if training.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), training.clip_norm)
    share = rate_share(
        place,
        num_steps=run.num_steps * training.num_epochs,
        schedule=training.schedule,
        warmup_share=training.warmup_share,
    )
    for group in state.optimizer.param_groups:
        group["lr"] = training.learning_rate * share
    state.optimizer.step()
    if state.average is not None and training.ema_decay is not None:
        move_average(state.average, state.network, decay=training.ema_decay, num_steps_done=place)
    return mean_loss


@torch.no_grad()
def _take_buffers_of_first(network: torch.nn.Module) -> None:
    """Each worker's batches moved its own running statistics; those of worker 0 are the model's, as DDP has it."""
    for buffer in network.buffers():
        value = buffer.contiguous()
        dist.broadcast(value, 0)
        buffer.copy_(value)


def _keep_best(state: TrainingState, val_loss: float | None) -> None:
    """The newest weights are the best where nothing measures them."""
    if val_loss is None or val_loss < state.best_val_loss:
        state.best_weights = clone(state.average) if state.average is not None else weights_of(state.network)
        state.best_val_loss = val_loss if val_loss is not None else float("inf")
        state.num_epochs_since_best = 0
    else:
        state.num_epochs_since_best += 1


def _record(metrics: EpochMetrics, job: TrainingJob) -> None:
    """Before the checkpoint, which takes the line along."""
    with job.history_path.open("a") as file:
        file.write(metrics.model_dump_json() + "\n")
    validation = "no validation rows"
    if metrics.val_accuracy is not None:
        validation = f"val accuracy {metrics.val_accuracy:.3f}"
    elif metrics.val_loss is not None:
        validation = f"val loss {metrics.val_loss:.4f}"
    log.info(
        "epoch %d/%d · loss %.4f · %s · %s rows/s",
        metrics.epoch,
        job.spec.training.num_epochs,
        metrics.train_loss,
        validation,
        f"{metrics.rows_per_s:,.0f}",
    )


def _finish(state: TrainingState, run: Run, *, code: TaskCode) -> None:
    """Refuse a model that no server could answer with; worker 0 writes it."""
    job, proof = run.job, run.rows if len(run.val_rows) == 0 else run.val_rows
    state.network.load_state_dict(state.best_weights)
    check_weights(state.best_weights, spec=job.spec)
    state.network.cpu()  # what a server does with it
    beside = run.task.end_training(state.network)
    state.network.eval()
    check_answers(state.network, proof.inputs[:_PROOF_ROWS_MAX], task=run.task)
    if run.rank == 0:
        save_model(
            job.model_path,
            spec=job.spec,
            network=state.network,
            code=code,
            state=run.task.state,
            beside=beside,
            temperature=temperature_of(state.network, run),
        )
