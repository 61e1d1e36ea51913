"""A site as a process of its own, to be killed: python site_process.py DIRECTORY NAME PORT PEER_PORT PEER_PORT.

    PUT /<sha256>     content → 201 or 200 and the receipt, 503 where it cannot be stored now, 421 where it has moved

The first start makes keys and database; Ground and the names of the sites are those of sites.py.
"""

import sys
import threading
from pathlib import Path

import uvicorn
from sites import Ground, declared
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from glasshouse.regions.errors import AlreadyStored, Moved, Unavailable
from glasshouse.regions.intake import Intake
from glasshouse.regions.peer_server import peer_config
from glasshouse.storage.db import Database
from glasshouse.storage.postgres import EmbeddedPostgres


def create_app(intake: Intake) -> Starlette:
    async def put(request: Request) -> Response:
        size = int(request.headers["content-length"])
        what = declared(b"", sha256=request.path_params["sha256"], size=size)
        try:
            async with await intake.begin(what) as upload:
                async for piece in request.stream():
                    await upload.write(piece)
                stored = await upload.finish()
        except AlreadyStored as error:
            return Response(error.receipt)
        except Unavailable as error:
            return Response(str(error), 503)
        except Moved as error:
            return Response(str(error), 421)
        return Response(stored.receipt, 201 if stored.created else 200)

    return Starlette(routes=[Route("/{sha256}", put, methods=["PUT"])])


def main(directory: Path, name: str, port: int, *peer_ports: int) -> None:
    ground = Ground(directory)
    ground.ports.update(zip(ground.names, peer_ports, strict=True))
    own = ground.credentials(name)
    with EmbeddedPostgres(directory / name / "postgres") as postgres, Database(postgres.dsn) as database:
        place = ground.place(name, database)
        with Intake(place, own) as intake:
            peer = peer_config(place, intake.replicas, own, host="127.0.0.1", port=ground.ports[name])
            threading.Thread(target=uvicorn.Server(peer).run, daemon=True).start()
            uvicorn.run(create_app(intake), host="127.0.0.1", port=port, log_level="error", lifespan="off", ws="none")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
