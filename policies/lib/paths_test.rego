package guardrail.lib.paths_test

import data.guardrail.lib.paths

test_inside if {
	paths.inside("/srv/data/a/b", "/srv/data")
	every path in ["/srv/data", "/srv/datax/a", "/srv/data/", "/srv/data/../a", "/srv/data/./a", "/srv/data//a", "/srv/data/a\\b", "/srv/data/a\u0000", "srv/data/a", null, 5] {
		paths.inside(path, "/srv/data") == false
	}
	paths.inside("/srv/data/a", null) == false
	paths.inside("/srv/data/a", 5) == false
}

test_normal if {
	paths.normal("/srv//./data/a") == "/srv/data/a"
	paths.normal("/srv/.hidden/a.b/é") == "/srv/.hidden/a.b/é"
	paths.normal("/a%b") == "/a%b"
	paths.normal("/") == "/"
	paths.normal("//") == "/"
}

# Programs find different places with these.
unreadable := [
	"/a/../b", "/..", "/a/...", "/a./b", "/a /b", "/a/ b", "/a\\b", "/a/%2e%2e/b", "/a%2fb", "/a%00", "/a\u0000b", "/a\nb", "/a\u007fb", "/a\u0085b", "/a\u2028b",
	"/a/．．/b", "/a／b", "/a＼b", "/a/‥/b", "/a/…/b", "/a∕b", "/a⁄b", "/a∖b", "/a。b", "/a﹒b", "/a․b", "/a⧸b", "/a⧵b",
]

test_unreadable_paths if {
	every path in array.concat(unreadable, ["", "a", "./a", "~/a", "C:/a", null, 5, ["/a"], {}]) {
		paths.normal(path) == ""
		paths.under(path, "/") == false
		paths.under(path, path) == false
		paths.under("/a/b", path) == false
	}
	every path in unreadable {
		paths.is_relative(trim_prefix(path, "/")) == false
	}
}

test_under if {
	paths.under("/srv/data", "/srv/data/")
	paths.under("/srv/./data//a", "/srv/data")
	paths.under("/a", "/")
	paths.under("/", "/")
	every path in ["/srv/datax", "/srv", "/", "srv/data/a"] {
		paths.under(path, "/srv/data") == false
	}
}

test_relative if {
	paths.is_relative("a/b.txt")
	paths.is_relative("./a")
	every path in ["", ".", "./", "/a", "~/a", "-rf", "C:a", "a:b", "..", "../a", "a/../b", "a/%2e%2e", null, 5, ["a"]] {
		paths.is_relative(path) == false
	}
}
