"""Peer: asyncpg cursor, orjson and aiohttp. Arguments: DATABASE_URL API_URL PROCESSES; prints the number of tokens.

Several processes share the range of keys and the requests in flight."""

import asyncio
import os
import sys
from urllib.parse import parse_qs, urlsplit

import aiohttp
import asyncpg
import orjson
from common import BATCH, IN_FLIGHT, KEY, PROJECT, SQL, TABLE, check, token

DATABASE, API, PROCESSES = sys.argv[1], sys.argv[2], int(sys.argv[3])
UPLOAD = API + "/v1/mgmt/outbound/app/user/oauthtoken/batch/upload"
HEADERS = {"Authorization": f"Bearer {PROJECT}:{KEY}", "Content-Type": "application/json"}


async def share_of_keys(database, share):
    if PROCESSES == 1:
        return ""
    least, most = await database.fetchrow(f"select min(id), max(id) from {TABLE}")
    step = (most - least) // PROCESSES + 1
    return f"where id >= {least + share * step} and id < {least + (share + 1) * step}"


async def migrate(share):
    # asyncpg, unlike libpq, lets the host before the path win over `?host=` with the folder of a socket.
    host = parse_qs(urlsplit(DATABASE).query).get("host", [None])[0]
    database = await asyncpg.connect(DATABASE, host=host)
    in_flight = IN_FLIGHT // PROCESSES
    permits, sent = asyncio.Semaphore(in_flight), 0
    connector = aiohttp.TCPConnector(limit=in_flight)

    async with aiohttp.ClientSession(headers=HEADERS, connector=connector) as session:

        async def send(batch):
            nonlocal sent
            try:
                async with session.post(UPLOAD, data=orjson.dumps({"tokens": batch})) as response:
                    response.raise_for_status()
                    check(orjson.loads(await response.read()))
                sent += len(batch)
            finally:
                permits.release()

        sql = SQL.format(where=await share_of_keys(database, share))
        async with asyncio.TaskGroup() as tasks, database.transaction():
            cursor = await database.cursor(sql)
            while rows := await cursor.fetch(BATCH):
                await permits.acquire()
                tasks.create_task(send([token(row) for row in rows]))
    await database.close()
    return sent


def main():
    children = []
    for share in range(1, PROCESSES):
        result, to_parent = os.pipe()
        if not (child := os.fork()):
            os.write(to_parent, b"%d" % asyncio.run(migrate(share)))
            return
        os.close(to_parent)
        children.append((child, result))
    sent = asyncio.run(migrate(0))
    for child, result in children:
        sent += int(os.read(result, 20))
        os.waitpid(child, 0)
    print(sent)


main()
