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


async def test_it_refuses_what_would_block(transport):
    with pytest.raises(NotImplementedError):
        transport.request("get", "http://127.0.0.1")


async def test_an_address_that_is_none_sends_nothing(transport):
    with pytest.raises(NotSent):
        await transport.request_async("get", "http://:99999", {})
