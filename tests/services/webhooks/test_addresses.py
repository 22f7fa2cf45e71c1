"""Which URLs and addresses are allowed; every other form leads into some network and is refused."""

import pytest

from services.webhooks.domain.addresses import REFUSED, URLRefused, is_dialable, is_public
from services.webhooks.sender.names import NameService
from services.webhooks.sender.urls import URLChecker

PUBLIC = [
    *("8.8.8.8", "1.1.1.1", "93.184.216.34", "172.15.255.255", "172.32.0.1", "192.167.255.255", "100.63.255.255"),
    *("100.128.0.0", "169.253.255.255", "198.17.255.255", "198.20.0.0", "223.255.255.255", "168.63.129.17"),
    *("2606:4700:4700::1111", "2a00:1450:4001:81b::200e", "2001:4860:4860::8888", "2620:fe::fe"),
]
REFUSED_ADDRESSES = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "100.127.255.255"),  # noqa: S104 - refused, not bound
    *("127.0.0.1", "127.255.255.255", "169.254.169.254", "169.254.0.1", "172.16.0.1", "172.31.255.255"),
    *("192.0.0.1", "192.0.0.8", "192.0.0.192", "192.0.2.1", "192.31.196.1", "192.52.193.1", "192.88.99.1"),
    *("192.168.0.1", "192.168.255.255", "192.175.48.1", "198.18.0.1", "198.19.255.255", "198.51.100.1"),
    *("203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "168.63.129.16"),
    *("::", "::1", "::127.0.0.1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:10.0.0.1"),
    *("::ffff:8.8.8.8", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::8.8.8.8", "64:ff9b:1::a00:1", "100::1"),
    *("2001::1", "2001:0:7f00:1::", "2001:1::1", "2001:10::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::"),
    *("2002:a00:1::1", "2002:808:808::1", "2620:4f:8000::1", "3ffe::1", "3fff::1", "5f00::1", "fc00::1", "fd00::1"),
    *("fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1", "2606:4700::5efe:127.0.0.1"),
    *("2606:4700::200:5efe:10.0.0.1", "", "no address", "1.2.3", "0x7f000001", "2130706433", "0177.0.0.1", "127.1"),
]
GOOD_URLS = [
    "https://example.com/hook",
    "https://example.com:8443/hook",
    "https://EXAMPLE.com",
    "https://example.com/hook?token=1",
    "https://8.8.8.8/hook",
    "https://[2606:4700:4700::1111]/hook",
    "https://bücher.example.com/",
    "https://example.com./hook",
]
BAD_URLS = [
    *("", "hook", "//example.com/", "https://", "https:///hook", "ftp://example.com/", "file:///etc/passwd"),
    *(
        "gopher://example.com/",
        "javascript:alert(1)",
        "http://example.com/",
        "http://8.8.8.8/",
        "https://example.com:80/",
    ),
    *("https://example.com:22/", "https://example.com:0/", "https://example.com:99999/", "https://u:p@example.com/"),
    *("https://user@example.com/", "https://@example.com/", "https://example.com/#part", "https://example.com/#"),
    *(
        "https://localhost/",
        "https://localhost:8443/",
        "https://127.0.0.1/",
        "https://127.0.0.1:8443/",
        "https://[::1]/",
    ),
    *("https://10.0.0.1/", "https://169.254.169.254/latest/meta-data", "https://[::ffff:127.0.0.1]/"),
    *("https://[64:ff9b::7f00:1]/", "https://0x7f000001/", "https://2130706433/", "https://0177.0.0.1/"),
    *("https://127.1/", "https://127.0.0.1./", "https://1.2.3.0x4/", "https://①②⑦.⓪.⓪.①/", "https://intranet/"),
    *(
        "https://printer.local/",
        "https://a.internal/",
        "https://x.home.arpa/",
        "https://a.svc/",
        "https://a.localhost/",
    ),
    *("https://a.local./", "https://exa mple.com/", "https://example.com/\\@127.0.0.1/", "https://example.com\\.evil/"),
    *("https://example.com/\n", "https://[fe80::1%25eth0]/", "https://[::1", "https://-a.example.com/"),
    *("https://" + "a" * 64 + ".com/", "https://example.com/" + "a" * 2048, "http://0.0.0.0:8000/"),
    *("http://[::ffff:127.0.0.1]:8000/", "http://10.0.0.1:8000/", "http://localhost.example.com:8000/"),
    *("http://localhost.:8000/", "http://128.0.0.1:8000/", "http://[::]:8000/", "http://0x7f.1:8000/"),
]
LOOPBACK_URLS = ["http://127.0.0.1:8000/hook", "http://127.9.9.9/", "http://[::1]:9/", "http://localhost:9000/hook"]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_dialled(address: str) -> None:
    assert is_public(address)
    assert is_dialable(address, "public")
    assert not is_dialable(address, "loopback")


@pytest.mark.parametrize("address", REFUSED_ADDRESSES)
def test_everything_else_is_refused(address: str) -> None:
    assert not is_public(address)
    assert not is_dialable(address, "public")


@pytest.mark.parametrize(("address", "is_loopback"), [("127.0.0.1", True), ("127.3.2.1", True), ("::1", True)])
def test_loopback_is_exactly_loopback(address: str, is_loopback: bool) -> None:
    assert is_dialable(address, "loopback") is is_loopback


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "::ffff:127.0.0.1", "10.0.0.1", "fe80::1%lo", "8.8.8.8", "::2"])  # noqa: S104 - refused, not bound
def test_loopback_reaches_nothing_else(address: str) -> None:
    assert not is_dialable(address, "loopback")


def checker(*, is_development: bool) -> URLChecker:
    return URLChecker(NameService(), is_development=is_development)


@pytest.mark.parametrize("url", GOOD_URLS)
@pytest.mark.parametrize("is_development", [True, False])
def test_public_https_urls_are_accepted(url: str, is_development: bool) -> None:
    assert checker(is_development=is_development).check(url).reach == "public"


@pytest.mark.parametrize("url", BAD_URLS)
@pytest.mark.parametrize("is_development", [True, False])
def test_other_urls_are_refused_in_development_too(url: str, is_development: bool) -> None:
    with pytest.raises(URLRefused):
        checker(is_development=is_development).check(url)


@pytest.mark.parametrize("url", LOOPBACK_URLS)
def test_literal_loopback_by_http_is_for_development_only(url: str) -> None:
    assert checker(is_development=True).check(url).reach == "loopback"
    with pytest.raises(URLRefused):
        checker(is_development=False).check(url)


NAMED = frozenset({"receiver", "hooks.test", "10.1.2.3", "fd00::5"})


@pytest.mark.parametrize(
    "url",
    [
        "http://receiver:8009/webhooks",
        "http://RECEIVER/",
        "http://hooks.test/",
        "http://10.1.2.3:1/",
        "http://[fd00::5]:9/",
    ],
)
def test_hosts_that_the_operator_names_are_let_through_by_http_in_development_only(url: str) -> None:
    named = URLChecker(NameService(), is_development=True, development_hosts=NAMED)
    assert named.check(url).reach == "development"
    for strict in (
        checker(is_development=True),
        URLChecker(NameService(), is_development=False, development_hosts=NAMED),
    ):
        with pytest.raises(URLRefused):
            strict.check(url)


@pytest.mark.parametrize("url", [*BAD_URLS, "https://receiver/", "http://receiver.:8009/", "http://receiver.evil.com/"])
def test_naming_hosts_opens_no_other_url(url: str) -> None:
    with pytest.raises(URLRefused):
        URLChecker(NameService(), is_development=True, development_hosts=NAMED).check(url)


@pytest.mark.parametrize("address", ["10.0.0.1", "172.16.0.1", "192.168.1.1", "127.0.0.1", "::1", "fd00::1", "fc00::1"])
def test_a_named_host_may_be_in_a_private_network(address: str) -> None:
    assert is_dialable(address, "development")


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "169.254.169.254", "100.100.100.200", "168.63.129.16", "224.0.0.1", "255.255.255.255"),  # noqa: S104 - refused, not bound
        *("::", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::a00:1", "fe80::1%eth0", "2002:a00:1::1", "", "x"),
        *("8.8.8.8", "2606:4700:4700::1111"),
    ],
)
def test_a_named_host_leads_nowhere_else(address: str) -> None:
    assert not is_dialable(address, "development")


async def test_a_named_host_that_resolves_to_something_else_is_refused() -> None:
    """The name is trusted, but not what its name server answers: metadata services answer by http too."""
    names = NameService(lambda name: [(2, "169.254.169.254" if name == "receiver" else "10.0.0.7")])
    urls = URLChecker(names, is_development=True, development_hosts=NAMED)
    try:
        assert (await urls.vet("http://hooks.test/")).reach == "development"
        with pytest.raises(URLRefused):
            await urls.vet("http://receiver:8009/")
    finally:
        names.close()


@pytest.mark.parametrize("url", ["https://10.0.0.1/", "https://a.internal/", "https://intranet/", "https://[::1]/"])
def test_refusals_of_hosts_all_read_alike(url: str) -> None:
    with pytest.raises(URLRefused) as caught:
        checker(is_development=True).check(url)
    assert str(caught.value) == REFUSED == "address not allowed or not resolvable"


async def test_a_name_that_leads_inside_is_refused_and_one_that_does_not_resolve_passes() -> None:
    answers = {
        "inside.example.com": [(2, "10.0.0.1")],
        "mixed.example.com": [(2, "93.184.216.34"), (10, "fd00::1")],
        "good.example.com": [(2, "93.184.216.34")],
    }

    def lookup(name: str) -> list[tuple[int, str]]:
        if name not in answers:
            raise OSError("no such name")
        return answers[name]

    names = NameService(lookup)
    urls = URLChecker(names, is_development=False)
    try:
        assert (await urls.vet("https://good.example.com/")).reach == "public"
        assert (await urls.vet("https://unknown.example.com/")).reach == "public"
        for host in ("inside", "mixed"):
            with pytest.raises(URLRefused):
                await urls.vet(f"https://{host}.example.com/")
    finally:
        names.close()
