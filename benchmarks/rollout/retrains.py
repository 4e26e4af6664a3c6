"""How many ordinary retrains wait for a person: `python -m benchmarks.rollout.retrains [--quick]`.

Each is a champion trained on a few of scikit-learn's digits and a second model trained from its weights on twice as
many; both answer the same requests, as in the dark phase. Counted is how often the judge holds the second one for an
approval, and how often it would have while a proven shift of the scores by itself did.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

from ratchet.config_files import load_model
from ratchet.core.rollout.decide import decide
from ratchet.core.rollout.evidence import measure
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.progress import Look, begin, observe
from ratchet.core.rollout.window import NUM_SCORE_BINS, ArmWindow, QualityWindow, Window
from ratchet.tasks.digits import Digits
from ratchet.tasks.spec import TaskSpec

POLICY = RolloutPolicy()
_TASK = Path(__file__).parents[2] / "configs" / "tasks" / "digits.yaml"
_NUM_LABELS = (60, 120)
_NUM_REQUESTS = 1_000
_HELD_OUT = 600
_WAITS_MAX = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how many ordinary retrains wait for a person.")
    parser.add_argument("--quick", action="store_true", help="under a minute: 4 retrains of each size")
    num = 4 if parser.parse_args().quick else 20
    rows = []
    for num_labels in _NUM_LABELS:
        seen = [answers_of(num_labels, seed=seed) for seed in range(num)]
        waits, shifts = zip(*(judge_answers(each) for each in seen), strict=True)
        agreed = np.mean([each.num_agreed / each.num_compared for each in seen])
        print(
            f"{num_labels} labels, then {2 * num_labels}: {sum(waits)} of {num} wait for a person; {sum(shifts)} would "
            f"have for their scores; {agreed:.1%} of the answers agree"
        )
        share, before = sum(waits) / num, sum(shifts) / num
        row = {"name": f"waits_for_a_person:{num_labels}", "value": share, "unit": "share", "peer": before}
        rows.append(row | {"ratio": None, "goal": _WAITS_MAX, "ok": share <= _WAITS_MAX})
    print(json.dumps(rows))


def judge_answers(answers: QualityWindow) -> tuple[bool, bool]:
    """Whether the judge holds for an approval after these answers, and whether their scores shift beyond its limit."""
    arm = ArmWindow(num_requests=_NUM_REQUESTS, num_timed=_NUM_REQUESTS)
    progress = observe(begin(POLICY), Look(at_s=60.0, window=Window(stable=arm, canary=arm), quality=answers), POLICY)
    evidence = measure(progress, POLICY)
    reasons = decide(progress, evidence, POLICY).reasons
    return any("approve" in reason.text for reason in reasons), evidence.score_shift > POLICY.score_shift_reported


def answers_of(num_labels: int, *, seed: int) -> QualityWindow:
    """What champion and second model answer to the same requests about scans that neither has seen."""
    data = load_digits()
    order = np.random.default_rng(seed).permutation(len(data.target))
    held_out, labels = order[:_HELD_OUT], order[_HELD_OUT:]
    task = Digits(load_model(_TASK, TaskSpec))
    torch.manual_seed(seed)
    champion = train(task, None, data.data[labels[:num_labels]], data.target[labels[:num_labels]])
    second = train(task, champion, data.data[labels[: 2 * num_labels]], data.target[labels[: 2 * num_labels]])
    asked_BF = data.data[np.random.default_rng(seed).choice(held_out, _NUM_REQUESTS)]
    stable_BK, canary_BK = (proba_of(task, network, asked_BF) for network in (champion, second))
    agreed = int((stable_BK.argmax(axis=1) == canary_BK.argmax(axis=1)).sum())
    return QualityWindow(
        num_compared=_NUM_REQUESTS,
        num_agreed=agreed,
        stable_scores=_bins_of(stable_BK),
        canary_scores=_bins_of(canary_BK),
    )


def train(task: Digits, base: torch.nn.Module | None, features_NF: np.ndarray, labels_N: np.ndarray) -> torch.nn.Module:
    """From the base's weights, or from none, with the numbers of the task's file."""
    network, training = task.build_model(), task.spec.training
    if base is not None:
        network.load_state_dict(base.state_dict())
    optimizer = torch.optim.AdamW(network.parameters(), lr=training.learning_rate)
    inputs, labels = task.preprocess(features_NF), torch.from_numpy(labels_N)
    for _ in range(training.num_epochs):
        for batch in torch.randperm(len(labels)).split(training.batch_size):
            optimizer.zero_grad()
            task.loss(network(inputs[batch]), labels[batch]).backward()
            optimizer.step()
    return network


def proba_of(task: Digits, network: torch.nn.Module, features_BF: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return torch.softmax(network(task.preprocess(features_BF)).double(), dim=1).numpy()


def _bins_of(proba_BK: np.ndarray) -> tuple[int, ...]:
    counts, _ = np.histogram(proba_BK.max(axis=1), bins=NUM_SCORE_BINS, range=(0, 1))
    return tuple(int(count) for count in counts)


if __name__ == "__main__":
    main()
