"""The traffic, what is measured of it, and the guard."""

from functools import lru_cache
from typing import TYPE_CHECKING

from ratchet.core import ports
from ratchet.wiring import connections, models, runs

if TYPE_CHECKING:
    from ratchet.actions.rollout.guarding import GuardPorts
    from ratchet.actions.rollout.ports import RolloutPorts, ServingPorts
    from ratchet.actions.rollout.start import ChoiceStores
    from ratchet.adapters.cluster_check import Examined
    from ratchet.adapters.guard_service import GuardService
    from ratchet.stores.rollout_orders import RolloutOrders
    from ratchet.stores.rollout_record import RolloutRecords


@lru_cache
def inference_services() -> ports.InferenceServices:
    if connections.settings().serving_mode == "standard":
        from ratchet.adapters.kserve_standard import KServeStandardServices

        return KServeStandardServices.of(connections.settings())
    from ratchet.adapters.kserve import KServeInferenceServices

    return KServeInferenceServices.of(connections.settings())


def examine_cluster() -> "list[Examined]":
    """What the cluster lacks for serving."""
    from ratchet.adapters.cluster_check import examine_cluster as examine

    return examine(connections.settings())


@lru_cache
def traffic_stats() -> ports.TrafficStats:
    if connections.settings().traffic_stats == "prometheus":
        from ratchet.adapters.prometheus import PrometheusTrafficStats

        return PrometheusTrafficStats.of(connections.settings())
    from ratchet.adapters.envoy import EnvoyTrafficStats

    return EnvoyTrafficStats.of(connections.settings())


@lru_cache
def gateway() -> ports.Gateway | None:
    """None where nobody says at which address users' requests enter."""
    from ratchet.adapters.gateway import HttpGateway

    return HttpGateway(connections.settings()) if connections.settings().gateway_endpoint else None


@lru_cache
def payload_log() -> ports.PayloadLog:
    from ratchet.adapters.s3_payloads import S3PayloadLog

    return S3PayloadLog(connections.object_store(), bucket=connections.settings().ratchet_bucket)


@lru_cache
def feedback_store() -> ports.FeedbackStore:
    from ratchet.adapters.s3_payloads import S3FeedbackStore

    return S3FeedbackStore(connections.object_store(), bucket=connections.settings().ratchet_bucket)


def rollout_choice() -> "ChoiceStores":
    from ratchet.actions.rollout.start import ChoiceStores

    return ChoiceStores(models.registry(), models.ledger(), models.model_files())


def rollout_records() -> "RolloutRecords":
    from ratchet.stores.rollout_record import RolloutRecords

    return RolloutRecords(connections.object_store(), connections.settings().ratchet_bucket)


def rollout_orders() -> "RolloutOrders":
    from ratchet.stores.rollout_orders import RolloutOrders

    return RolloutOrders(connections.object_store(), connections.settings().ratchet_bucket)


def serving_ports() -> "ServingPorts":
    """What giving the traffic back to a champion takes: for notify."""
    from ratchet.actions.rollout.ports import ServingPorts

    return ServingPorts(
        services=inference_services(), ledger=models.ledger(), clock=connections.clock(), files=models.model_files()
    )


def rollout_ports() -> "RolloutPorts":
    """What a rollout acts on: for canary_deploy, rollback and the command line."""
    from ratchet.actions.rollout.ports import RolloutPorts

    return RolloutPorts(
        services=inference_services(),
        stats=traffic_stats(),
        ledger=models.ledger(),
        registry=models.registry(),
        clock=connections.clock(),
        objects=connections.object_store(),
        records=rollout_records(),
        orders=rollout_orders(),
        gateway=gateway(),
        payloads=payload_log(),
        feedback=feedback_store(),
        proof=models.load_proof(),
        files=models.model_files(),
    )


@lru_cache
def guard_ports() -> "GuardPorts":
    """What the guard looks at and acts on. KFP is asked only while a rollout is open: champions are guarded without."""
    from ratchet.actions.rollout.guarding import GuardPorts
    from ratchet.stores.guard_memory import GuardMemory

    memory = GuardMemory(connections.object_store(), connections.settings().ratchet_bucket)
    return GuardPorts(rollout=rollout_ports(), pipelines=runs.pipelines, memory=memory)


@lru_cache
def guard_service() -> "GuardService":
    from ratchet.adapters.guard_service import GuardService

    return GuardService.of(connections.settings())
