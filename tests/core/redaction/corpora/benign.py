"""Strings that redaction must leave alone: code, logs, versions, prices, identifiers of things."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

__all__ = ["FIELDS", "benign"]

_CODE = (
    "def parse(self, token: Token) -> Node:|for (let i = 0; i < items.length; i++) {|if (!user.isActive) return null;|public static void main(String[] args) {|"
    "SELECT id, status FROM orders WHERE created_at > '2026-01-01' LIMIT 100;|import React, { useState } from 'react';|const total = cart.items.reduce((a, b) => a + b.price, 0);|"
    "fn main() { println!(\"{}\", std::env::args().count()); }|#include <stdio.h>|return json.dumps({'ok': True, 'count': len(rows)})|assert response.status_code == 200|"
    "while (node != nullptr && node->key != key) node = node->next;|type Handler func(w http.ResponseWriter, r *http.Request)|let mut map: HashMap<String, Vec<u32>> = HashMap::new();|"
    "@app.route('/health')|raise ValueError(f\"unexpected token {tok!r} at line {line}\")|ALTER TABLE invoices ADD COLUMN due_date date NOT NULL;|git rebase --onto main feature~3 feature|"
    "docker run --rm -it -p 8080:80 nginx:1.25.3-alpine|kubectl get pods -n kube-system -o wide|pip install 'requests>=2.31,<3'|npm run build -- --mode production|"
    "chmod 0644 /etc/nginx/nginx.conf|find . -name '*.py' -mtime -7 -print0 | xargs -0 wc -l|tar -xzf release-2.4.1.tar.gz -C /opt/app|awk '{print $1, $3}' access.log | sort | uniq -c|"
    "password = os.environ['DB_PASSWORD']|token = request.headers.get('Authorization')|api_key=settings.API_KEY|auth: ${{ secrets.GITHUB_TOKEN }}|def reset_password(user_id, token):|"
    '<input type="password" name="password" placeholder="Password">|<label for="email">Email address</label>|.btn-primary { color: #fff; background: #0d6efd; }|@media (max-width: 768px) { .nav { display: none; } }|'
    "margin: 0 auto; padding: 12px 16px 8px 16px;|transform: translate3d(0, -100%, 0) rotate(45deg);|grid-template-columns: repeat(auto-fit, minmax(240px, 1fr));|font: 400 14px/1.5 'Helvetica Neue', Arial, sans-serif;|"
    "use std::collections::HashMap;|std::vector<int>::iterator it = v.begin();|pub mod a { pub mod b { pub fn c() {} } }|a::b::c()|Foo::Bar::baz(1)|#[derive(Debug, Clone, PartialEq)]|"
    "private final AccountService accountService;|customerRepository.findById(id).orElseThrow();|class PolicyHolderController < ApplicationController|interface ContractProps { contractId: string; onSave(): void }|"
    "enum Status { Active = 1, Suspended = 2, Closed = 3 }|const [name, setName] = useState('');|phone: yup.string().matches(phoneRegExp, 'Phone number is not valid')|ipAddress: z.string().ip(),|^\\d{3}-\\d{2}-\\d{4}$|[A-Z]{2}\\d{2}[A-Z0-9]{11,30}"
)
_LOGS = (
    "2026-03-14T09:26:53.589Z INFO  [main] Started Application in 3.{n2} seconds (JVM running for 4.{n2})|[2026-03-14 09:26:53,{n3}] WARNING in scheduler: job 'cleanup' took {n4} ms|"
    'Mar 14 09:26:53 web-{n2} systemd[1]: Started Daily apt download activities.|level=info ts=2026-03-14T09:26:53Z caller=main.go:{n3} msg="listening" port=8080|'
    'GET /api/v2/orders/{n5}?page=2&per_page=50 HTTP/1.1" 200 {n4} "-" "curl/8.4.0"|ERROR Traceback (most recent call last): File "/app/main.py", line {n3}, in <module>|'
    'java.lang.NullPointerException: Cannot invoke "String.length()" because "<local1>" is null|    at com.example.orders.OrderService.create(OrderService.java:{n3})|'
    "npm WARN deprecated har-validator@5.1.5: this library is no longer supported|Compiling serde v1.0.{n3}|Downloaded tokio v1.{n2}.0|test result: ok. {n3} passed; 0 failed; 2 ignored; finished in 0.{n2}s|"
    "PING gateway: 64 bytes, icmp_seq={n2} ttl=64 time=0.{n3} ms|kernel: [{n5}.{n5}] usb 1-1: new high-speed USB device number {n2} using xhci_hcd|Memory: {n5}K/{n6}K available|"
    "GC pause (young) {n4}M->{n3}M({n5}M) 12.{n2}ms|rows affected: {n5}, duration: 0.{n3}s|worker {n2} exited with code 137|retrying in {n2}s (attempt 3 of 5)|segfault at 7f{h8} ip 000{h8} sp 7ffd{h8} error 4 in libc-2.31.so|"
    "{n1}{n4} requests served, p99 {n3} ms|Build #{n4} passed in {n2}m{n2}s|session closed after {n5} events|cache hit ratio 0.{n4}"
)
_GIT = (
    "commit {h40}|Merge pull request #{n4} from feature/login-form|index {h7}..{h7} 100644|@@ -{n2},7 +{n2},9 @@ def handler(event, context):|diff --git a/src/app.py b/src/app.py|"
    "{h7} Fix typo in README|HEAD is now at {h7} Bump version to 2.{n2}.0| 3 files changed, {n2} insertions(+), {n2} deletions(-)|branch 'main' set up to track 'origin/main'.|sha256:{h64}|"
    'tag: v{n1}.{n2}.{n1}-rc.{n1}|refs/heads/release/{n4}|Reviewed-on: change {n5}|{h40} refs/tags/v{n1}.{n2}|ETag: "{h32}"|integrity sha512 checksum of build {n5}'
)
_VERSIONS = (
    "v{n1}.{n2}.{n2}|{n1}.{n2}.{n1}-beta.{n1}|Python 3.{n2}.{n1}|Chrome/{n3}.0.{n4}.{n3}|Mozilla/5.0 (X11; Linux x86_64; rv:{n3}.0) Gecko/20100101 Firefox/{n3}.0|Windows NT 10.0.{n5}.{n3}|version 1.{n2}.{n1}.{n2}|"
    'release 10.{n1}.{n1}.{n1}|OpenSSL 3.0.{n1}|firmware 2.{n2}.{n1}.{n1}|openjdk version "17.0.{n1}" 2024-01-16|django==4.2.{n2}|section 3.{n1}.{n1}.{n1}|1.3.6.1.4.1.{n5}.2.{n1}|node:{n2}-alpine3.19|glibc 2.{n2}|build {n5}|Oracle 19.{n2}.0.0.0'
)
_NUMBERS = (
    "{n2}.{n6}, -{n2}.{n6}|52.{n5}|lat: 48.{n6} lon: 2.{n6}|POINT(13.{n5} 52.{n5})|EUR {n3}.{n2}|$1,{n3}.{n2}|{n2},{n2} €|£{n4}.00|{n3} USD|total: {n5}.{n2}|12.{n3}.{n3},{n2}|{n2}%|{n1}.{n3}e-{n1}|{n4}x{n4}|3.14159265358979|"
    "{n2}:{n2}|0{n1}:4{n1}:1{n1}.{n3}|2026-0{n1}-1{n1}|2026-0{n1}-1{n1}T1{n1}:0{n1}:00+02:00|1{n1}/0{n1}/2026|1{n1}.0{n1}.2026|17{n8}|17{n8}{n3}|P{n1}Y{n1}M|week {n2} of 2026|page {n2} of {n3}|room {n3}|{n3} km|{n4} kWh|"
    "0x{h8}|#{h6}|rgba({n2}, {n2}, {n2}, 0.{n1})|{n5} rows|{n6} bytes|chapter {n1}.{n1}|row {n4}, column {n2}|Q{q} 2026|FY2025/26|temperature {n2}.{n1} °C|ratio {n1}:{n1}|score {n1}-{n1}|{n3}/{n3}"
)
_IDS = (
    "{u}|order {n6}|order no. {n8}|Order #{n6} has shipped|invoice INV-2026-{n5}|INV{n6}|PO-{n6}|SKU {n5}-{n3}|sku: AB-{n5}|ISBN 978-0-{n3}-{n5}-{n1}|ISBN-13: 97803{n8}|1Z999AA1{n8}{n2}|tracking RR{n8}{n1}DE|UPS 1Z{n8}{n8}|JD0{n8}{n8}|"
    "TICKET-{n5}|JIRA ABC-{n4}|PR-{n4}|case {n6}|flight LH{n4}|LO{n3} WAW-FRA|booking ref X{n1}KL{n1}P|seat 14C|gate B{n2}|ASIN B0{n2}CK{n1}LM{n1}X|EAN 40{n8}{n3}|product {n5}|item_{n6}|trace-id: {h32}|span {h16}|request {u}|"
    "arn:aws:s3:::my-bucket/logs/{n4}|projects/my-project/locations/europe-west1|msg_{n5}|batch-{n4}|shard-{n2}|node-{n3}|zone-b-{n2}|CVE-2025-{n5}|RFC {n4}|ISO 8601|DIN EN {n4}-{n1}|HTTP 404|error code 0x8007{n4}|E{n4}: file not found|"
    "lot {n5}|batch no. {n6}|model XR-{n4}|part no. {n5}-{n3}|reference REF{n5}|ticket {n6} is open|{n3}-{n3}-{n4}.pdf|page id {n6}|run {n5}|epoch {n2} step {n5}"
)
_PATHS = (
    "/usr/local/lib/python3.11/site-packages/requests/adapters.py|C:\\Program Files\\Java\\jdk-17\\bin\\java.exe|src/components/AccountSettings/index.tsx|https://example.com/docs/v{n1}/getting-started?lang=en#install|/var/log/nginx/access.log.{n1}.gz|"
    "s3://reports/2026/03/summary-{n4}.parquet|docs/adr/00{n2}-choose-database.md|./gradlew :app:assembleRelease|../common/data/README.md|file:///tmp/build-{n4}/output.log|https://example.org/search?q=account+number+format|~/.config/app/settings.toml|"
    "http://localhost:{n4}/health|127.0.0.1:{n4}|0.0.0.0:8080|10.0.0.0/8|255.255.255.0|fe80::/10|::1|redis://localhost:6379/0|tests/test_payment_{n2}.py::test_refund|migrations/00{n2}_add_phone_to_customers.sql"
)
_PROSE = (
    'Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with the License.|Permission is hereby granted, free of charge, to any person obtaining a copy of this software|'
    'THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND|Redistribution and use in source and binary forms, with or without modification, are permitted|Hello World|Hello there! How can I help you today?|Dear Customer, thank you for your order.|'
    "Dear Sir or Madam,|Please enter your account number on the next page.|The policy covers water damage up to EUR 5,000.|Your contract ends in May 2027.|The customer asked for a refund of 200 EUR.|Call the support team if the error persists.|"
    "The card was declined because of insufficient funds.|Passport control is on level 2.|A new customer portal opens in 2026.|Claim forms are available online.|The meter was read on Monday.|He scored {n2} goals in {n2} games.|Mount Everest is 8848 m high.|"
    "The White House is in Washington.|New York and Los Angeles are cities.|Kind regards from the whole team|The Account Team|Terms and Conditions apply|Best Western Hotel|Terminal 2 gate B{n2}|Meet at Central Station at 14:30|The Great Gatsby was published in 1925.|"
    "Set the account type to savings and the currency to EUR.|Sort the customers by last name.|Which phone number format do you use?|Die Kundennummer steht auf der Rechnung.|Der Vertrag läuft 24 Monate.|Le numéro de client est sur la facture.|El contrato dura 12 meses.|"
    "Il conto è stato aperto nel 2024.|The Customer Service Center is open from 9:00 to 17:00.|On behalf of the board, we thank you.|My name is on the list.|This is New Zealand|I am Groot|Patient care improved by {n2}%.|Policy 2026 was adopted.|Account 2 of 3|member since 2019|"
    "Chapter {n1}: The Long Road Home|iPhone 15 Pro Max 256 GB|Samsung Galaxy S{n2}|Boeing 737-800|Mercedes-Benz C 220 d|Windows 11 Pro|Ubuntu 24.04 LTS|Visual Studio Code|Room service until 22:00|Open an issue on the tracker|The driver must be updated to {n3}.{n2}|"
    "client {n2} disconnected|user count: {n4}|Driver version {n3}.{n2}.{n2}|subscriber count {n5}|customer satisfaction {n1}.{n1} of 5|phone case, black, {n2} g|tel aviv|text width {n4} px|call stack depth {n4}|called {n5} times|reach {n6} users|ring buffer of {n5} entries|mobile traffic {n2}%|"
    "cell A{n2} to C{n4}|dial tone|fax machine|birth rate {n1}.{n2}|born in the 1980s|national park no. {n2}|card game for {n1} players|plate of {n2} cookies|tax rate {n2}%|tax year 2025/26|license server port {n4}|sim racing 2024|meter width {n4}|policy engine v{n1}|claim {n1}: a method of"
)


def _fill(rng: random.Random, text: str) -> str:
    out: list[str] = []
    parts = text.split("{")
    out.append(parts[0])
    for part in parts[1:]:
        code, _, rest = part.partition("}")
        if code and code[0] == "n" and code[1:].isdigit():
            size = int(code[1:])
            out.append(str(rng.randint(10 ** (size - 1), 10**size - 1)))
        elif code and code[0] == "h" and code[1:].isdigit():
            out.append("".join(rng.choice("0123456789abcdef") for _ in range(int(code[1:]))))
        elif code == "u":
            digits = "".join(rng.choice("0123456789abcdef") for _ in range(32))
            out.append(f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}")
        elif code == "q":
            out.append(str(rng.randint(1, 4)))
        else:
            out.append("{" + part)
            continue
        out.append(rest)
    return "".join(out)


_FAMILIES: tuple[tuple[str, str, int], ...] = (
    ("code", _CODE, 1), ("logs", _LOGS, 15), ("git", _GIT, 15), ("versions", _VERSIONS, 20), ("numbers", _NUMBERS, 15), ("ids", _IDS, 15), ("paths", _PATHS, 4), ("prose", _PROSE, 2),
)  # fmt: skip


def benign(seed: int) -> Iterator[tuple[str, str]]:
    """Yield (family, string), at least 2,000 of them."""
    rng = random.Random(seed)
    for family, texts, rounds in _FAMILIES:
        for _ in range(rounds):
            for text in texts.split("|"):
                yield family, _fill(rng, text)


FIELDS: dict[str, Callable[[random.Random], object]] = {
    "order_id": lambda rng: rng.randint(10**6, 10**7), "invoice_number": lambda rng: f"INV-{rng.randint(1000, 9999)}", "tracking_number": lambda rng: f"1Z{rng.randint(10**15, 10**16)}",
    "product_id": lambda rng: f"P{rng.randint(10**5, 10**6)}", "name": lambda rng: rng.choice(["Blue Widget", "Premium Plan", "staging", "Weekly Report"]), "title": lambda rng: "Quarterly Review",
    "customer": lambda rng: rng.choice(["ACME Corp", "all", "new"]), "owner": lambda rng: rng.choice(["platform-team", "root", "infra"]), "account_type": lambda rng: "savings", "policy": lambda rng: rng.choice(["strict", "Always", "IfNotPresent"]),
    "contract_type": lambda rng: "fixed", "phone_type": lambda rng: "mobile", "client": lambda rng: "web", "recipient": lambda rng: "Support", "status": lambda rng: "active", "version": lambda rng: "1.2.3.4", "policy_type": lambda rng: "home", "claim_status": lambda rng: "open",
    "card_type": lambda rng: "visa", "account_status": lambda rng: "open", "member_count": lambda rng: rng.randint(10**5, 10**6), "subscriber_count": lambda rng: rng.randint(10**5, 10**6), "customer_group": lambda rng: "retail", "driver": lambda rng: "postgresql",
    "user_agent": lambda rng: "Mozilla/5.0", "contact_type": lambda rng: "email", "device_type": lambda rng: "iPhone", "sort_order": lambda rng: "desc", "author": lambda rng: "Jane Austen", "department": lambda rng: "Claims", "city": lambda rng: "Lisbon", "holder_count": lambda rng: 3,
    "name_prefix": lambda rng: "srv-", "tag_name": lambda rng: "latest", "branch_name": lambda rng: "Feature Branch", "file_name": lambda rng: "Annual Report.pdf", "host_name": lambda rng: "db-01", "plan_name": lambda rng: "Gold Saver", "bank_name": lambda rng: "First National Bank",
    "hotel_name": lambda rng: "Grand Plaza", "sender_type": lambda rng: "system", "policy_version": lambda rng: 3, "meter_unit": lambda rng: "kWh", "tax_rate": lambda rng: 19.0, "tax_code": lambda rng: "A1", "sim_type": lambda rng: "eSIM", "passenger_count": lambda rng: 2, "uuid": lambda rng: "3f2b8c1e-5d4a-4b6c-8e7f-0a1b2c3d4e5f",
}  # fmt: skip
"""Makers of fields whose values must stay, by key."""
