"""The HTTP face of the simulator: OCP's endpoints and the simulator's own."""

from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web

from ocp_sim.auth_api import AuthApi
from ocp_sim.control import Control
from ocp_sim.export_api import ExportApi, refused_response
from ocp_sim.platform import RefusedError
from ocp_sim.simulator import Simulator


def make_app(sim: Simulator) -> web.Application:
    """The application; the push begins with it where `push.autostart` and a target are set."""
    app = web.Application(middlewares=[_refusals])
    for part in (AuthApi(sim), ExportApi(sim), Control(sim)):
        app.add_routes(part.routes())

    async def life(_: web.Application) -> AsyncIterator[None]:
        yield
        await sim.pusher.stop()
        sim.zips.close()

    app.cleanup_ctx.append(life)
    return app


async def start(sim: Simulator) -> web.AppRunner:
    """Listen where the settings say; `sim.public_url` tells where that was."""
    runner = web.AppRunner(make_app(sim), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, sim.settings.host, sim.settings.port).start()
    host, port = runner.addresses[0][:2]
    sim.public_url = sim.public_url or f"http://{host}:{port}"
    push = sim.settings.push
    if push.autostart and push.target:
        sim.pusher.start()
    return runner


@web.middleware
async def _refusals(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except RefusedError as refused:
        return refused_response(refused)
