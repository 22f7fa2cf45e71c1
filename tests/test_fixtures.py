"""The fixtures keep their promises: a clean broker and a database of one's own."""

import aiormq
import asyncpg
import pytest

from shared.broker import topology
from tests.databases import Database


class TestCleanBroker:
    """Two tests in a row see nothing of each other."""

    @pytest.mark.parametrize("turn", [1, 2])
    async def test_every_queue_is_there_and_empty(self, clean_broker: dict[str, str], turn: int) -> None:
        connection = await aiormq.connect(clean_broker["operator"])
        channel = await connection.channel()
        for queue in topology.QUEUES:
            assert (await channel.queue_declare(queue.name, passive=True)).message_count == 0
        await channel.confirm_delivery()
        await channel.basic_publish(b"{}", exchange="checkout", routing_key="checkout.completed")
        await connection.close()

    async def test_a_service_user_may_not_declare(self, clean_broker: dict[str, str]) -> None:
        connection = await aiormq.connect(clean_broker["codes"])
        channel = await connection.channel()
        with pytest.raises(aiormq.exceptions.ChannelAccessRefused):
            await channel.queue_declare("mine")
        await connection.close()


async def test_a_database_is_empty_and_ones_own(empty_database: Database) -> None:
    connection = await asyncpg.connect(empty_database.admin)
    assert await connection.fetchval("SELECT current_database()") == empty_database.name
    assert not await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
    await connection.close()
