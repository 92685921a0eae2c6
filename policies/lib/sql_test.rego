package guardrail.lib.sql_test

import data.guardrail.lib.sql

queries := [
	"select 1",
	"SELECT a, \"b c\", `d.e`, 'it''s; -- no', 1.5 FROM t WHERE a = ? AND b = $1 AND c = :name AND d = %s",
	"select a::text from s.t;",
	"select a -- a comment; delete from t\nfrom t",
	"select a --\nfrom t",
	"/* a ** comment */ select /* delete */ a from t where a <> 'delete from t'",
	"with x as (select 1) select * from x",
	"select count(*), lower(a), replace(b, 'x', 'y') from t group by a having sum(c) >= 2 order by (a)",
	"select * from t where id in (select id from u where exists (select 1)) and ((a) > 1)",
	"select a from t where b = 'x' or (c || d) like '%' limit 10;;",
	"\n\tselect 1\r\n",
]

test_queries_only_read if {
	every text in queries {
		sql.kinds(text) == {"select"}
		sql.kind(text) == "select"
		sql.single(text) == true
		sql.read_only(text) == true
		sql.maybe_writes(text) == false
	}
}

test_changes if {
	sql.kind("insert into t (a, b) values (?, lower('x'))") == "insert"
	sql.kind("INSERT INTO s.t SELECT a FROM u") == "insert"
	sql.kind("insert into \"t\" (a) values (1)") == "insert"
	sql.kind("update t set a = 1, b = 'x' where id = 5") == "update"
	sql.kind("update s.t set a = 1") == "update"
	sql.kind("delete from t where id = 5") == "delete"
	sql.kind("delete from s.t") == "delete"
	sql.kind("create table t (a integer primary key, b text references u (b) on delete set null)") == "ddl"
	sql.kind("create or replace view v as select evil(1)") == "ddl"
	sql.kind("alter table t drop column a") == "ddl"
	sql.kind("drop table if exists t") == "ddl"
	sql.kind("truncate table t") == "ddl"
	every text in ["insert into t (a) values (1)", "update t set a = 1", "delete from t", "drop table t"] {
		sql.read_only(text) == false
		sql.maybe_writes(text) == true
		sql.single(text) == true
		sql.only(text, ["insert", "update", "delete", "ddl"]) == true
	}
}

# Each begins as a harmless statement.
others := [
	"", " ", ";", "-- select 1", "select", "select 'a", "select \"a", "select 1 /* a", "select 1 */ 2", "select a[1]", "select @a := 1", "select {d}", "select a # b",
	"select 'a\\' , '; delete from t; -- '", "select 1\r delete", "select 1\r", "select 1 --1", "select /*! delete */ 1", "select /*+ hint */ 1",
	"select /*M! 1 */ 1", "select /* a /* b */ 1", "select E'a'", "select n\"a\"", "select $$a$$", "select \"http://evil.org/a\"", "select \"a.csv\"",
	"select 1 into t", "select a from t for update", "select a from t for share", "select evil(1)", "select \"evil\"(1)", "select app.lower(1)",
	"select next value for s", "select s.nextval from dual", "select 1 delete from t", "select 1 drop table t", "select * from 'a.csv'",
	"select * from t join 'a.csv'", "with x as (delete from t returning a) select * from x", "with x as (select 1) delete from t",
	"explain select 1", "values (1)", "table t", "call f()", "do 'x'", "copy t to 'a'", "set a = 1", "pragma a", "1", "(select 1)", "select １",
	"insert into t (a) values (1) on conflict (a) do update set b = 1", "insert or replace into t values (1)", "insert into t values (evil(1))",
	"insert into openrowset (a) values (1)", "insert t values (1)", "update t set a = evil(1)", "update t x set a = 1", "update t set a = 1 drop table u",
	"delete from t where evil(1)", "delete t", "delete from f(1)", "delete from t drop table u", "create function f() returns int", "create user u", "alter system set a = 1",
	"drop table t delete from u", "drop table t create user u", "create trigger x", "truncate t", "alter table t rename to u create user v",
]

test_any_other_text_is_doubtful if {
	every text in others {
		sql.kinds(text) == {"other"}
		sql.kind(text) == "other"
		sql.read_only(text) == false
		sql.maybe_writes(text) == true
		sql.only(text, ["select", "insert", "update", "delete", "ddl", "other"]) == false
	}
	every value in [null, 5, ["select 1"], {"a": "select 1"}] {
		sql.kinds(value) == {"other"}
		sql.kind(value) == "other"
		sql.single(value) == false
		sql.read_only(value) == false
		sql.maybe_writes(value) == true
	}
}

blanks := replace(sprintf("%0100d", [0]), "0", sprintf("%100s", [""]))

test_long_texts_are_doubtful if {
	sql.read_only(concat("", ["select 1", substring(blanks, 0, 9992)])) == true
	sql.read_only(concat("", ["select 1", substring(blanks, 0, 9993)])) == false
}

test_several_statements if {
	sql.kinds("select 1; delete from t; drop table u;") == {"ddl", "delete", "select"}
	sql.kind("select 1; delete from t") == "other"
	sql.kind("select 1; select 2") == "select"
	sql.single("select 1; select 2") == false
	sql.read_only("select 1; select 2") == true
	sql.read_only("select 1; evil") == false
	sql.only("select 1; delete from t", {"select", "delete"}) == true
	sql.only("select 1; delete from t", ["delete"]) == false
	every kinds in ["select", {"a": "select"}, null, []] {
		sql.only("select 1", kinds) == false
	}
}
