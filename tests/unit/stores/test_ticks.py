"""The archive of ticks: what is old goes, and what is broken is left out."""

from ratchet.stores.ticks import KEPT_FOR
from tests.unit.sensors.label_sensor.test_tick_archive import World


def test_what_is_old_goes():
    world = World()
    world.tick("old")
    world.now_s += KEPT_FOR.total_seconds()
    world.tick("young")
    assert world.stored() == [("young", 1)], "not shown any more"
    assert world.archive.prune("digits") == 1
    assert len(list(world.objects.list_uris("s3://ratchet/ticks/"))) == 1


def test_what_is_no_entry_is_a_hole_in_the_log():
    world = World()
    world.tick("a")
    for name, data in (("~1", b"not JSON"), ("~2", b"[]"), ("~3", b"{}")):
        world.objects.put(f"s3://ratchet/ticks/digits/{name}.json", data)
    assert world.stored() == [("a", 1)]
