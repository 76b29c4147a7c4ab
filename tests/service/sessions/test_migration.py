"""All sessions of a model are moved to one version."""

from service.sessions import migrate_all, session_key
from tests.service.sessions.test_resources import homes
from tests.service.sessions.world import BINDING, NAME, World


def test_all_sessions_of_a_model_migrate_where_the_states_agree() -> None:
    async def body(world: World) -> None:
        for tenant in ("acme", "beta"):
            await world.step(key=session_key(tenant, NAME))
        assert await migrate_all(world.resources, "none", "2") == (0, 0)
        assert await migrate_all(world.resources, BINDING.model, "3") == (0, 2)
        assert await migrate_all(world.resources, BINDING.model, "2") == (2, 0)
        assert await migrate_all(world.resources, BINDING.model, "2") == (0, 0)
        for tenant in ("acme", "beta"):
            assert (await world.resources.read(tenant, NAME)).version == "2"

    homes(body)
