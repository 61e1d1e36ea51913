"""A site of a region that moves, as a process to be killed: python moving_process.py DIRECTORY NAME PORT PEER_PORT…

    PUT /<sha256>     content → 201 or 200 and the receipt, 421 where the region has moved, 503 where nothing is taken
    POST /fence       the old site takes nothing more
    GET /state        what the site does, and how far every journal is here

The charter has the move open from the beginning; keys are those of the directory, made before the first start.
"""

import asyncio
import json
import sys
import threading
from pathlib import Path

import uvicorn
from moves import MOVE, Departure
from site_process import create_app
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from glasshouse.regions.intake import Intake
from glasshouse.regions.journal import Kind, Note, heads
from glasshouse.regions.peer_server import peer_config
from glasshouse.storage.db import Database
from glasshouse.storage.postgres import EmbeddedPostgres


def departure(directory: Path, peer_ports: list[int]) -> Departure:
    """The same charter in every process."""
    names = Departure.__dataclass_fields__["names"].default
    ground = Departure(
        directory,
        replicas=2,
        ports=dict(zip(names, peer_ports, strict=True)),
        public_ports=dict(zip(names, (1, 2, 3), strict=True)),
    )
    ground.open()
    return ground


def routes(intake: Intake) -> list[Route]:
    place = intake.place

    async def fence(_: Request) -> Response:
        await intake.append(Note(kind=Kind.FENCED, body={"relocation": MOVE}))
        return Response(status_code=204)

    async def state(_: Request) -> Response:
        known = await asyncio.to_thread(heads, place.database)
        journals = {name: [head.position, head.chain.hex()] for name, head in known.items()}
        return JSONResponse(json.loads(json.dumps({"state": place.rules().state, "journals": journals})))

    return [Route("/fence", fence, methods=["POST"]), Route("/state", state, methods=["GET"])]


def main(directory: Path, name: str, port: int, *peer_ports: int) -> None:
    ground = departure(directory, list(peer_ports))
    own = ground.credentials(name)
    with EmbeddedPostgres(directory / name / "postgres") as postgres, Database(postgres.dsn) as database:
        place = ground.place(name, database)
        with Intake(place, own) as intake:
            peer = peer_config(place, intake.replicas, own, host="127.0.0.1", port=ground.ports[name])
            threading.Thread(target=uvicorn.Server(peer).run, daemon=True).start()
            app = create_app(intake)
            app.router.routes[:0] = routes(intake)
            uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", lifespan="off", ws="none")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
