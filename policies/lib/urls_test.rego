package guardrail.lib.urls_test

import data.guardrail.lib.urls

test_hosts if {
	urls.host("https://WWW.Example.com./a?b#c") == "www.example.com"
	urls.host("http://192.0.2.1:8080/") == "192.0.2.1"
	urls.host("http://[2001:DB8::1]:443") == "2001:db8::1"
	urls.host("http://[::1]") == "::1"
	urls.host("example.com/a") == "example.com"
	urls.host("example.com") == "example.com"
	urls.host("example.com:8080/a") == "example.com"
	urls.host("http://example.com/a@b?c=d@e") == "example.com"
	urls.host("http://example.com?a") == "example.com"
	urls.host("http://example.com#a") == "example.com"
}

# Programs find different hosts in these, or none.
unreadable := [
	"", "/a", "example.com//evil.org", "http//evil.org", "example.com/a?b=http://evil.org", "//example.com/a", "http://", "http:///a", "http:/example.com", "http:example.com", "https:\\\\example.com", "http://example.com\\@evil.org",
	"http://evil.org@example.com", "http://evil.org:80@example.com", "http://example.com?@evil.org", "http://example.com#@evil.org", "evil.org@example.com",
	"http://example.com:@evil.org", "http://example.com :80", " http://example.com", "http://example.com\n", "http://exam\tple.com", "http://exämple.com",
	"http://example。com", "http://ｅxample.com", "http://example%2ecom", "http://example.com%00.evil.org", "http://example.com:", "http://example.com:0", "http://example.com:080",
	"http://example.com:65536", "http://example.com:8a", "http://example.com:99999999999999999999", "http://127.1", "http://2130706433", "http://0x7f000001", "http://0x7f.0.0.1", "http://0177.0.0.1", "http://127.0.0.01",
	"http://127.0.0.256", "http://1.2.3.4.5", "http://1.2.3", "http://127.0.0.1.", "http://[::1", "http://::1", "http://[::ffff:127.0.0.1]", "http://[fe80::1%25eth0]", "http://[1]", "http://[:]", "http://[g::1]", "http://[127.0.0.1]", "http://[example.com]",
	"http://[::1]x", "http://-a.com", "http://a_b.com", "http://a..com", "http://.com", "ftps://example.com", "file:///etc/passwd", "javascript:alert(1)", "data:text/plain,a", "gopher://example.com", "jar:http://example.com",
	"http://http://example.com@evil.org", "http://example.com/a b", "http://example.com/\u0000", "http://example.com/é", "http://example.com/a\\b", "http://example.com/\"", "http://example.com/<", "http://ex`a.com",
]

test_unreadable_urls if {
	every url in array.concat(unreadable, [null, 5, ["http://example.com"], {}]) {
		urls.host(url) == ""
		urls.origin(url) == ""
		urls.scheme(url) == ""
		urls.path(url) == ""
		urls.secure(url) == false
		urls.host_in(url, ["example.com", "*.example.com", "evil.org", "", url, "127.0.0.1", "::1"]) == false
		urls.maybe_host_in(url, ["other.org"]) == true
		urls.under(url, url) == false
		urls.under(url, "http://example.com/") == false
		urls.is_public(url) == false
		urls.maybe_private(url) == true
	}
}

test_origins_and_schemes if {
	urls.origin("HTTPS://Example.com:443/a") == "https://example.com"
	urls.origin("http://example.com:443") == "http://example.com:443"
	urls.origin("http://example.com:80") == "http://example.com"
	urls.origin("ws://example.com:8080") == "ws://example.com:8080"
	urls.origin("wss://example.com:443") == "wss://example.com"
	urls.origin("ftp://example.com:21") == "ftp://example.com"
	urls.origin("http://[2001:DB8::1]:8080/") == "http://[2001:db8::1]:8080"
	urls.origin("http://[::80]") == "http://[::80]"
	urls.origin("http://[::1]:80") == "http://[::1]"
	urls.origin("http://example.com:65535") == "http://example.com:65535"
	urls.origin("example.com") == ""
	urls.scheme("example.com") == ""
	urls.scheme("WsS://example.com") == "wss"
	urls.secure("wss://example.com") == true
	urls.secure("https://example.com") == true
	urls.secure("http://example.com") == false
	urls.secure("example.com") == false
}

test_paths if {
	urls.path("http://example.com") == "/"
	urls.path("http://example.com/a//./b/?c/../d") == "/a/b"
	urls.path("http://example.com/a%20b/%7Ec") == "/a%20b/%7Ec"
	urls.path("http://example.com/.../a..b/.c") == ""
	urls.path("http://example.com/a..b/.c") == "/a..b/.c"
	every path in [
		"/..", "/a/../b", "/a/%2e%2e/b", "/a/%2E./b", "/a%2fb", "/a%5Cb", "/a%252fb", "/a/..;/b", "/a;b", "/a%3bb", "/a%00", "/a%1f", "/a%", "/a%zz", "/a%4",
	] {
		urls.path(concat("", ["http://example.com", path])) == ""
		urls.under(concat("", ["http://example.com", path]), "http://example.com/") == false
	}
}

test_under if {
	base := "https://example.com/api/"
	urls.under("https://EXAMPLE.com:443/api", base)
	urls.under("https://example.com/api/a?b", base)
	urls.under("https://example.com/api/a", "https://example.com/api")
	urls.under("https://example.com/api", "https://example.com")
	every url in [
		"https://example.com/apis", "https://example.com/", "http://example.com/api", "https://example.com:8443/api", "https://a.example.com/api",
		"https://example.com/API", "example.com/api",
	] {
		urls.under(url, base) == false
	}
	urls.under("https://example.com/a/../b", "https://example.com/a/../b") == false
	urls.under("example.com/a", "example.com") == false
	every wrong in ["https://example.com/../", "example.com", "", null] {
		urls.under("https://example.com/api", wrong) == false
	}
}

test_hosts_in_domains if {
	every list in [["*.example.com", "192.0.2.1", "2001:db8::1"], {"*.example.com", "192.0.2.1", "2001:db8::1"}] {
		urls.host_in("https://a.example.com:8443/x", list)
		urls.host_in("https://192.0.2.1", list)
		urls.host_in("https://[2001:DB8::1]", list)
		urls.host_in("https://example.com.evil.org/a.example.com", list) == false
		urls.host_in("https://192.0.2.2", list) == false
	}
	urls.host_in("https://192.0.2.1", {"a": "192.0.2.1"}) == false
	urls.host_in("https://192.0.2.1", "192.0.2.1") == false
	urls.maybe_host_in("https://a.example.com", ["*.example.com"]) == true
	urls.maybe_host_in("https://other.org", ["*.example.com"]) == false
	urls.maybe_host_in("https://192.0.2.1", ["*.example.com"]) == true
	urls.maybe_host_in("https://other.org", "example.com") == true
}

test_public_and_private_hosts if {
	every host in [
		"example.com", "8.8.8.8", "172.15.0.1", "172.32.0.1", "100.128.0.1", "11.0.0.1", "223.255.255.255", "[2606:4700::1]", "[2a00::]", "localhost.example.com",
	] {
		urls.is_public(concat("", ["http://", host, "/"])) == true
		urls.maybe_private(concat("", ["http://", host, "/"])) == false
	}
	every host in [
		"localhost", "LOCALHOST.", "intranet", "a.local", "metadata.google.internal", "a.lan", "a.corp", "1.0.0.127.in-addr.arpa", "a.localhost", "x.onion", "x.test", "10.0.0.1", "127.0.0.1",
		"0.0.0.0", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1", "192.0.0.1", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
		"224.0.0.1", "255.255.255.255", "[::]", "[::1]", "[::ffff:a00:1]", "[64:ff9b::a00:1]", "[fe80::1]", "[fd00::1]", "[fc00::1]", "[ff02::1]", "[2001:db8::1]", "[2001::1]", "[2002:a00:1::]", "[3fff::1]", "[4000::1]",
	] {
		urls.is_public(concat("", ["http://", host, "/"])) == false
		urls.maybe_private(concat("", ["http://", host, "/"])) == true
	}
}
