"""A thousand alerts a second from fifty connections, while the tenant is away: the relay beside a plain socket."""

import asyncio
import subprocess
import sys
import time

import pytest

from tests.forks import start_simulator
from tests.functional.relays import PSK, by_environment, make_body

CONNECTIONS, RATE, SECONDS = 50, 1000, 30.0
MOST, MOST_MEMORY = 0.1, 100e6  # seconds at the 99th percentile, bytes


async def send(port, until, latencies, codes):
    """Send over one connection at its share of the rate, and note how long each answer took."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = make_body()
    head = f"POST /in HTTP/1.1\r\nHost: x\r\nAuthorization: {PSK}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    turn = asyncio.get_running_loop().time()
    while time.monotonic() < until:
        turn += CONNECTIONS / RATE
        await asyncio.sleep(max(turn - asyncio.get_running_loop().time(), 0))
        began = time.perf_counter()
        writer.write(head + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        latencies.append(time.perf_counter() - began)
        codes.append(int(answer.split(b" ")[1]))
    writer.close()


async def load(port):
    """Put on the load, and return the latencies, sorted, and the codes."""
    latencies, codes = [], []
    until = time.monotonic() + SECONDS
    await asyncio.gather(*(send(port, until, latencies, codes) for _ in range(CONNECTIONS)))
    return sorted(latencies), codes


PLAIN = """
import asyncio
from contextlib import suppress

async def answer(reader, writer):
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while head := await reader.readuntil(b"\\r\\n\\r\\n"):
            await reader.readexactly(int(head.partition(b"Content-Length: ")[2].partition(b"\\r\\n")[0]))
            writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
    writer.close()

async def serve():
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(serve())
"""


def load_plain():
    """Put the same load on a process that reads and answers, and does nothing else."""
    with subprocess.Popen([sys.executable, "-c", PLAIN], stdout=subprocess.PIPE, text=True) as server:
        try:
            return asyncio.run(load(int(server.stdout.readline())))
        finally:
            server.kill()


@pytest.mark.parametrize("room", ["6000", "100000"])
def test_a_storm_while_the_tenant_is_away(tmp_path, ratios, room):
    """Every alert is answered 200 or 503, in under 100 ms at the 99th percentile, in less than 100 MB."""
    plain, plain_codes = load_plain()
    with start_simulator("xdr") as tenant:
        tenant.do("close")
        with by_environment(tenant, tmp_path, BUFFER_SIZE=room) as relay:
            latencies, codes = asyncio.run(load(relay.port))
            memory, processor, received = relay.memory, relay.processor, relay.stats["PipeIn"]
    late, late_plain = (each[len(each) * 99 // 100] for each in (latencies, plain))
    assert set(codes) <= {200, 503}
    assert codes.count(200) == received == min(int(room), len(codes))
    what = f"with room for {int(room):,}"
    ratios.add(f"alerts a second, {what} / wanted", len(codes) / SECONDS, RATE, "/s", least=0.95)
    ratios.add(
        "the same / a plain socket that does nothing else", len(codes) / SECONDS, len(plain_codes) / SECONDS, "/s"
    )
    ratios.add(f"99 % are answered, {what}, beside 100 ms above a plain socket", late, MOST + late_plain, most=1)
    # This one alone says something on a machine that has much else to do.
    ratios.add(
        f"processor time for 1,000 alerts, {what}, beside a second", processor / len(codes) * RATE, 1.0, most=0.5
    )
    ratios.add(f"memory, {what}, beside 100 MB", memory * 2**20, MOST_MEMORY, "MB", most=1)
    ratios.raise_if_missed()
