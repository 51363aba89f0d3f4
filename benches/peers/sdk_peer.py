"""Peer: the official SDK in 8 threads, rows from a server-side cursor. Arguments: DATABASE_URL API_URL; prints the
number of tokens."""

import sys
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import psycopg
from common import BATCH, IN_FLIGHT, KEY, PROJECT, SQL, check, token
from descope import DescopeClient

DATABASE, API = sys.argv[1:3]


def batches():
    with psycopg.connect(DATABASE) as database, database.cursor("peer") as cursor:
        cursor.execute(SQL.format(where=""))
        while rows := cursor.fetchmany(BATCH):
            yield [token(row) for row in rows]


def main():
    client = DescopeClient(project_id=PROJECT, management_key=KEY, base_url=API)
    upload = client.mgmt.outbound_application.batch_upload_user_tokens
    sent, in_flight = 0, {}

    def collect(finished):
        nonlocal sent
        for future in finished:
            check(future.result())
            sent += in_flight.pop(future)

    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        for batch in batches():
            if len(in_flight) == IN_FLIGHT:
                collect(wait(in_flight, return_when=FIRST_COMPLETED).done)
            in_flight[pool.submit(upload, batch)] = len(batch)
        collect(wait(in_flight).done)
    print(sent)


main()
