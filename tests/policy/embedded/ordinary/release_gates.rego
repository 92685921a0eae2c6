# input {"pr":{"title":"feat: x","labels":["ok"],"approvals":[{"user":"a","team":"core"},{"user":"b","team":"sec"}],"files":["src/a.py","infra/b.tf"],"author":"a"}}
package ordinary.release_gates

approvers := {a.user | some a in input.pr.approvals} - {input.pr.author}

needs_security if {
	some file in input.pr.files
	startswith(file, "infra/")
}

teams contains a.team if {
	some a in input.pr.approvals
	a.user in approvers
}

deny contains "security must approve" if {
	needs_security
	not "sec" in teams
}

deny contains sprintf("%d of %d approvals", [count(approvers), required]) if count(approvers) < required

required := 2 if needs_security else := 1

kind := regex.find_all_string_submatch_n(`^(feat|fix|docs)(\(.+\))?: .+`, input.pr.title, 1)[0][1]

valid_title if kind

changed_dirs := {dir | some f in input.pr.files; dir := split(f, "/")[0]}

summary := sprintf("%s: %d files in %v", [input.pr.title, count(input.pr.files), changed_dirs])
