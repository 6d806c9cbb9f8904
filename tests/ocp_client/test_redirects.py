"""Laws of redirects: only where we may go, never with our token elsewhere, and back if too late."""

from collections.abc import Callable

import pytest
from yarl import URL

from ocp_ingest.adapters.ocp.destinations import Destinations, PublicResolver, is_private
from ocp_ingest.adapters.ocp.failed import Failed
from ocp_ingest.adapters.ocp.http import PrivateAddressError
from ocp_ingest.core.errors import Denied, NotFound, Terminal, Transient
from ocp_ingest.core.export_job import Refused
from ocp_ingest.reconcile.ports import Expired
from tests.ocp_client.kit import Content, Reply, Seen, Vendor, bench, fetch_one, pattern, settings

DATA = pattern(120_000)


def redirect(url: str, status: int = 302) -> Reply:
    return Reply(status, b"", {"Location": url})


async def storage(served: Content) -> Vendor:
    """Another host, which must never see a token."""
    host = Vendor()
    await host.server.start_server()
    host.always["signed"] = served
    return host


def authority(vendor: Vendor) -> str:
    return vendor.url.removeprefix("http://")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_an_allowed_host_is_followed_without_our_token(status: int) -> None:
    host = await storage(Content(DATA))
    async with bench(redirect_hosts=(authority(host),), allow_private=True) as at:
        url = f"{host.url}/signed/k?X-Amz-Signature=a%2Fb%3D&x=%20y"
        at.vendor.always["download"] = redirect(url, status)
        assert await fetch_one(at.client) == DATA
    [seen] = host.seen
    assert seen.path == "/signed/k"
    assert seen.query == {"X-Amz-Signature": "a/b=", "x": " y"}
    assert "Authorization" not in seen.headers
    assert not any("token" in name.lower() for name in seen.headers)
    await host.server.close()


async def test_a_personal_token_stays_at_home_too() -> None:
    host = await storage(Content(DATA))
    async with bench(
        redirect_hosts=(authority(host),), allow_private=True, personal_access_token="p4t"
    ) as at:
        at.vendor.always["download"] = redirect(f"{host.url}/signed/k")
        assert await fetch_one(at.client) == DATA
        assert at.vendor.asked("download")[0].headers["X-OCP-PERSONAL-ACCESS-TOKEN"] == "p4t"
    assert "p4t" not in repr(host.seen)
    await host.server.close()


async def test_each_resume_asks_ocp_for_a_new_url() -> None:
    host = await storage(Content(DATA, cuts=(50_000, 30_000)))
    async with bench(redirect_hosts=(authority(host),), allow_private=True) as at:
        tickets = iter(range(9))

        def next_ticket(_: Seen) -> Reply:
            return redirect(f"{host.url}/signed/{next(tickets)}")

        at.vendor.always["download"] = next_ticket
        assert await fetch_one(at.client) == DATA
        assert len(at.vendor.asked("download")) == 3
    assert [one.path for one in host.seen] == ["/signed/0", "/signed/1", "/signed/2"]
    assert host.seen[1].headers["Range"].startswith("bytes=")
    await host.server.close()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 429, 500])
@pytest.mark.parametrize("at_home", [False, True])
async def test_an_expired_url_is_asked_for_again(status: int, at_home: bool) -> None:
    host = await storage(Content(DATA))
    host.script["signed"].append(Reply(status, b"<Error>AccessDenied</Error>"))
    async with bench(redirect_hosts=(authority(host),), allow_private=True) as at:
        if at_home:
            at.vendor.script["signed"].append(Reply(status))
            at.vendor.always["signed"] = Content(DATA)
        target = at.vendor.url if at_home else host.url
        at.vendor.always["download"] = redirect(f"{target}/signed/k")
        assert await fetch_one(at.client) == DATA
        # a 401 at home is healed in place: it may have been our token
        assert len(at.vendor.asked("download")) == 2 - (at_home and status == 401)
    await host.server.close()


async def test_a_url_that_is_always_expired_is_given_up_soon() -> None:
    async with bench() as at:
        at.vendor.always["download"] = redirect("/signed/k")
        at.vendor.always["signed"] = Reply(403)
        with pytest.raises(Transient, match="403"):
            await fetch_one(at.client)
        assert len(at.vendor.asked("download")) < 10


@pytest.mark.parametrize(
    "location",
    ["http://evil.example/x", "//evil.example/x", "ftp://127.0.0.1/x", "", "http://[::1",
     "file:///etc/passwd", "http://user:pw@127.0.0.1/x", "http://127.0.0.1:1/x"],
)  # fmt: skip
async def test_a_forbidden_target_is_refused_in_words_and_not_tried_again(location: str) -> None:
    async with bench(redirect_hosts=("storage.example",)) as at:
        at.vendor.always["download"] = redirect(location)
        with pytest.raises(Terminal):
            await fetch_one(at.client)
        assert len(at.vendor.asked("download")) == 1


async def test_an_allowed_host_with_a_private_address_is_refused() -> None:
    """By its literal address, and by a name that leads there."""
    host = await storage(Content(DATA))
    port = host.server.port
    hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
    async with bench(redirect_hosts=hosts) as at:
        for name in ("127.0.0.1", "localhost"):
            at.vendor.always["download"] = redirect(f"http://{name}:{port}/signed/k")
            with pytest.raises(Terminal, match="private"):
                await fetch_one(at.client)
    assert host.seen == []
    await host.server.close()


async def test_a_circle_of_redirects_ends() -> None:
    async with bench() as at:
        at.vendor.always["download"] = redirect("/signed/a")
        at.vendor.always["signed"] = redirect("/signed/a")
        with pytest.raises(Terminal, match="times"):
            await fetch_one(at.client)
        assert len(at.vendor.asked("signed")) == 3


@pytest.mark.parametrize(
    ("answer", "error"),
    [(Reply(410), Expired), (Reply(404), NotFound), (Reply(403), Denied), (Reply(401), Denied),
     (Reply(409), Transient), (Reply(400), Terminal), (Reply(503), Transient)],
)  # fmt: skip
async def test_each_refusal_of_a_download_has_its_fate(
    answer: Reply, error: type[Exception]
) -> None:
    async with bench() as at:
        at.vendor.always["download"] = answer
        with pytest.raises(error) as raised:
            await fetch_one(at.client)
        assert type(raised.value) is error


JUDGE: dict[str, tuple[tuple[str, ...], str, bool]] = {
    "the api's own origin": ((), "https://api.example/x", True),
    "another port of it": ((), "https://api.example:444/x", False),
    "a relative path": ((), "/x", True),
    "a listed host": (("s.example",), "https://s.example/x", True),
    "in capitals": (("s.example",), "https://S.EXAMPLE/x", True),
    "on another port": (("s.example",), "https://s.example:8443/x", False),
    "that is listed": (("s.example:8443",), "https://s.example:8443/x", True),
    "without the listed port": (("s.example:8443",), "https://s.example/x", False),
    "below a wildcard": (("*.s.example",), "https://a.b.s.example/x", True),
    "the wildcard's own name": (("*.s.example",), "https://s.example/x", False),
    "a name that ends alike": (("*.s.example",), "https://evils.example/x", False),
    "a listed name as a prefix": (("s.example",), "https://s.example.evil/x", False),
    "plain http": (("s.example",), "http://s.example/x", False),
    "a user": (("s.example",), "https://u@s.example/x", False),
    "a private address": (("10.0.0.1",), "https://10.0.0.1/x", False),
    "the metadata service": (("169.254.169.254",), "https://169.254.169.254/x", False),
    "a public address": (("8.8.8.8",), "https://8.8.8.8/x", True),
    "ipv6": (("[2606:4700::1111]",), "https://[2606:4700::1111]/x", True),
    "private ipv6": (("[::1]",), "https://[::1]/x", False),
}


@pytest.mark.parametrize("case", JUDGE)
def test_destinations(case: str) -> None:
    hosts, location, allowed = JUDGE[case]
    api = URL("https://api.example/exports/x")
    judge = Destinations(settings("https://api.example", redirect_hosts=hosts), api)

    def target() -> URL:
        return judge.target(api, location)

    _expect(target, allowed)


def _expect(target: Callable[[], URL], allowed: bool) -> None:
    if allowed:
        assert target().scheme == "https"
        return
    with pytest.raises(Failed) as refused:
        target()
    assert isinstance(refused.value.seen, Refused)


def test_signed_urls_are_followed_to_the_letter() -> None:
    api = URL("https://api.example/exports/x")
    judge = Destinations(settings("https://api.example", redirect_hosts=("s.example",)), api)
    url = "https://s.example/a%2Fb/c+d?Signature=%2F%2B%3d&Key-Pair=a+b"
    assert str(judge.target(api, url)) == url


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.1.1", "0.0.0.0", "100.64.0.1",
     "224.0.0.1", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1",
     "2002:a00:1::", "ff02::1", "::"],
)  # fmt: skip
def test_private_addresses_in_every_dress(address: str) -> None:
    assert is_private(address)


def test_public_addresses_and_names_are_not_private() -> None:
    assert not any(map(is_private, ("8.8.8.8", "2606:4700::1111", "s3.example", "::ffff:8.8.8.8")))


async def test_the_resolver_refuses_names_of_private_addresses() -> None:
    resolver = PublicResolver()
    with pytest.raises(PrivateAddressError):
        await resolver.resolve("localhost", 80)
    await resolver.close()
