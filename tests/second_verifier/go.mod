module second_verifier

go 1.21
