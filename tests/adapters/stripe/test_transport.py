"""How connections are made."""

import socket
import ssl

import pytest

from tillport.adapters.stripe.transport import AiohttpTransport, NotSent


@pytest.fixture
async def transport():
    made = AiohttpTransport(connect_seconds=1, timeout_seconds=7)
    yield made
    await made.close_async()


async def test_certificates_and_host_names_are_checked(transport):
    context = transport._open().connector._ssl
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


async def test_the_kernel_gives_up_when_we_do(server, transport):
    server.will({"status": 200})
    await transport.request_async("post", server.url + "/v1", {}, "a=b")
    [[(protocol, _)]] = transport._open().connector._conns.values()
    sock = protocol.transport.get_extra_info("socket")
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux's option; elsewhere the kernel decides
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7000


async def test_no_cookie_is_kept(server, transport):
    server.will({"status": 200, "headers": {"Set-Cookie": "a=b"}})
    await transport.request_async("post", server.url, {}, "")
    await transport.request_async("post", server.url, {}, "")
    assert "cookie" not in server.seen[1].headers


async def test_a_closed_transport_opens_again(server, transport):
    server.will({"status": 200})
    await transport.request_async("get", server.url, {})
    await transport.close_async()
    await transport.request_async("get", server.url, {})
    assert len(server.seen) == 2


@pytest.mark.parametrize("scheme", ["http://", ""])
async def test_the_environments_proxy_is_asked_for_a_tunnel(server, transport, monkeypatch, scheme):
    monkeypatch.setenv("HTTPS_PROXY", scheme + server.url.removeprefix("http://"))
    monkeypatch.delenv("https_proxy", raising=False)
    server.will({"status": 403})
    with pytest.raises(NotSent):
        await transport.request_async("post", "https://stripe.test/v1", {"Authorization": "Bearer sk"}, "a=b")
    [asked] = server.seen
    assert (asked.method, asked.headers["host"]) == ("CONNECT", "stripe.test")
    assert "authorization" not in asked.headers


async def test_what_needs_no_proxy_goes_without_one(server, transport, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server.will({"status": 200})
    await transport.request_async("get", server.url, {})  # a simulator
    monkeypatch.setenv("https_proxy", server.url)
    monkeypatch.setenv("no_proxy", "stripe.example, 127.0.0.1")
    with pytest.raises(NotSent):
        await transport.request_async("get", "https://127.0.0.1:9", {})
    assert [one.method for one in server.seen] == ["GET"]


async def test_it_refuses_what_would_block(transport):
    with pytest.raises(NotImplementedError):
        transport.request("get", "http://127.0.0.1")


async def test_an_address_that_is_none_sends_nothing(transport):
    with pytest.raises(NotSent):
        await transport.request_async("get", "http://:99999", {})
