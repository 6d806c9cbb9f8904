"""The OIDC endpoints: token and logout of one realm, answering as Keycloak does."""

import asyncio
from typing import Any

from aiohttp import web

from ocp_sim.serving import drop
from ocp_sim.simulator import Simulator
from ocp_sim.tokens import LoginError

PATH = "/auth/realms/{realm}/protocol/openid-connect/{action:token|logout}"


class AuthApi:
    """Handlers of the token endpoint."""

    def __init__(self, sim: Simulator) -> None:
        self._sim = sim

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        return [web.post(PATH, self.answer)]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Token or logout; 404 for a wrong realm."""
        if request.match_info["realm"] != self._sim.settings.auth.realm:
            return web.json_response({"error": "Realm does not exist"}, status=404)
        spoilt = await self._fault(request)
        response = spoilt or await self._granted(request)
        self._sim.answers[f"{request.match_info['action']}.{response.status}"] += 1
        return response

    async def _granted(self, request: web.Request) -> web.Response:
        form = {key: str(value) for key, value in (await request.post()).items()}
        try:
            if request.match_info["action"] == "logout":
                self._sim.logins.logout(form)
                return web.Response(status=204)
            given: dict[str, Any] = self._sim.logins.token(form, self._sim.real_now_s())
            return web.json_response(given, headers={"Cache-Control": "no-store"})
        except LoginError as refused:
            body = {"error": refused.error, "error_description": refused.description}
            return web.json_response(body, status=refused.status)

    async def _fault(self, request: web.Request) -> web.Response | None:
        if request.match_info["action"] != "token":
            return None
        faults = self._sim.dice.faults
        match self._sim.dice.draw("token"):
            case "rate_limited":
                headers = {"Retry-After": str(faults.retry_after_s)}
                return web.json_response({"error": "too_many"}, status=429, headers=headers)
            case "server_error":
                return web.Response(status=503, text="Service Unavailable")
            case "dropped":
                drop(request)
                return web.Response(status=503)
            case "slow":
                await asyncio.sleep(faults.slow_s)
        return None
