"""Weights that metrics download."""

import pytest

from sde_edit.errors import UserError
from sde_edit.registry import build
from tests.unit.metrics.inputs import loaded


@pytest.mark.parametrize("kind", ["frechet", "kernel_distance", "lpips"])
def test_offline_says_what_to_fetch_and_where_to_put_it(hub, kind):
    for attempt in (build("metrics", kind, {}).fetch, lambda: loaded(kind)):
        with pytest.raises(UserError, match=rf"cannot fetch https://.*put it into {hub}"):
            attempt()


def test_a_damaged_download_is_named(hub):
    (hub / "inception-2015-12-05.pt").write_bytes(b"half a file")
    with pytest.raises(UserError, match=r"inception-2015-12-05.pt is damaged.*Delete it"):
        loaded("frechet")
