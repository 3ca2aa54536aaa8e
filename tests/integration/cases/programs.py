"""Programs of the distribution on graft: the same output and exit status as natively, also with
every capability denied and in checked mode. Each is skipped where it is not installed."""

import json
import re
import socket
import time

from harness import Cases, Failed, agree, check, need, on_and_clean

CASES = Cases()

MODES = {"": {}, "-denied": {"GRAFT_DENY": "all"}, "-checked": {"GRAFT_HEAP_CHECK": "1"}}


def program(name):
    """A function (context, env, preloaded) -> Result of a run that `compare` looks at."""
    def register(function):
        for suffix, mode in MODES.items():
            def run(context, mode=mode):
                native = function(context, context.native)
                check(native.status == 0, f"natively: {native.text()}")

                def preloaded(command, env=None, **more):
                    return context.graft(command, {**(env or {}), **mode}, **more)
                graft = function(context, preloaded)
                agree(native, graft)
                on_and_clean(graft)
                for pid, one in graft.summaries.items():
                    check(one["graft"]["enabled"], f"off in process {pid}: {one['graft']}")
            CASES.add(f"programs.{name}{suffix}", run)
        return function
    return register


SQL = """
PRAGMA cache_size = 200;
CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, v REAL);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)
  INSERT INTO t SELECT i, printf('name-%d-%s', i, hex(zeroblob(i % 50))), i * 1.5 FROM n;
CREATE INDEX by_name ON t(name);
SELECT count(*), sum(v), max(length(name)) FROM t;
SELECT substr(name, 1, 8), count(*) FROM t GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 5;
UPDATE t SET name = name || 'x' WHERE id % 3 = 0;
DELETE FROM t WHERE id % 7 = 0;
SELECT a.id, b.id FROM t a JOIN t b ON a.id = b.id + 1 WHERE a.v > 44900 ORDER BY a.id LIMIT 4;
VACUUM;
PRAGMA integrity_check;
SELECT group_concat(name, ',') FROM (SELECT name FROM t ORDER BY name LIMIT 20);
"""


@program("sqlite3")
def sqlite3(context, run):
    context.path("db").unlink(missing_ok=True)
    return run([need("sqlite3"), context.path("db")], text=SQL)


PYTHON = r"""
import collections, hashlib, json, queue, random, re, subprocess, sys, threading, zlib
random.seed(4)
tree = {str(i): {"list": [random.random() for _ in range(20)], "text": "x" * (i % 300)}
        for i in range(2000)}
text = json.dumps(tree)
assert json.loads(text) == tree
print(len(text), hashlib.sha256(text.encode()).hexdigest())
work, results = queue.Queue(), []
def worker():
    while (item := work.get()) is not None:
        results.append(zlib.crc32(b"%d" % item * (item % 5000)))
threads = [threading.Thread(target=worker) for _ in range(8)]
for t in threads: t.start()
for i in range(4000): work.put(i)
for _ in threads: work.put(None)
for t in threads: t.join()
print(len(results), sum(results))
counts = collections.Counter(re.findall(r"\w+", text))
print(sum(counts.values()), len(counts))
for i in range(10):
    done = subprocess.run([sys.executable, "-c", f"print(sum(len(str(i)) for i in range({i}000)))"],
                          capture_output=True, text=True, check=True)
    print(done.stdout.strip())
def deep(n): return [deep(n - 1), deep(n - 1)] if n else bytearray(33)
print(len(str(deep(12))))
"""


@program("python3")
def python3(context, run):
    return run(["/usr/bin/python3" if need("python3") else "", "-c", PYTHON])


PERL = r"""
use strict; use warnings; srand(7);
my %h; for my $i (1 .. 60000) { push @{$h{$i % 997}}, "value $i " . ("y" x ($i % 80)); }
my $n = 0; for my $k (sort { $a <=> $b } keys %h) { $n += length join ",", reverse @{$h{$k}}; }
print "$n\n";
my $s = join " ", map { sprintf "%x", $_ * 7919 % 65536 } 1 .. 50000;
my %c; $c{$_}++ for $s =~ /([0-9a-f]{2})/g;
print join(",", map { "$_=$c{$_}" } (sort keys %c)[0 .. 9]), "\n";
(my $t = $s) =~ s/(\w+) (\w+)/$2-$1/g; print length($t), " ", unpack("%32C*", $t), "\n";
my @sorted = sort { $a cmp $b } split / /, $t; print "$sorted[0] $sorted[-1]\n";
print `echo from a shell`;
my $pid = fork; if (!$pid) { my @x = map { [$_] } 1 .. 10000; exit 3 }
waitpid $pid, 0; print $? >> 8, "\n";
eval { die { code => 42 } }; print $@->{code}, "\n";
"""


@program("perl")
def perl(context, run):
    return run([need("perl"), "-e", PERL])


LUA = r"""
local t, parts = {}, {}
for i = 1, 200000 do t[i % 5003] = {i, tostring(i), {i % 7}} end
local sum = 0
for _, v in pairs(t) do sum = sum + v[1] + #v[2] + v[3][1] end
print(sum)
for i = 1, 20000 do parts[#parts + 1] = string.rep(string.char(97 + i % 26), i % 40) end
local s = table.concat(parts, "-")
print(#s, select(2, s:gsub("a+", function(m) return #m .. m end)))
local co = coroutine.wrap(function() for i = 1, 3000 do coroutine.yield({i}) end end)
local n = 0
for i = 1, 3000 do n = n + co()[1] end
print(n)
collectgarbage()
print(collectgarbage("count") > 0)
"""


@program("lua")
def lua(context, run):
    return run([need("lua5.4"), context.write("script.lua", LUA)])


GIT = r"""
set -e
git init -q -b main repo; cd repo
git config user.name t; git config user.email t@example.com; git config gc.auto 0
for i in $(seq 200); do mkdir -p d$((i % 9)); seq $((i * 3)) > d$((i % 9))/f$i; done
git add -A; git commit -q -m first
for c in 1 2 3 4 5; do
  for i in $(seq $c 17 200); do echo "change $c" >> d$((i % 9))/f$i; done
  git commit -q -a -m "change $c"
done
git checkout -q -b side HEAD~2; echo side > side; git add side; git commit -q -m side
git checkout -q main; git merge -q -m merge side
git log --stat --format='%h %s' | tail -n 60
git gc -q --aggressive --prune=now; git fsck --full
git diff HEAD~3 --shortstat; git blame d1/f10 | tail -n 3; git grep -c change | head -n 5
git clone -q . ../clone; git -C ../clone rev-parse HEAD
cd ..; rm -rf repo clone
"""


@program("git")
def git(context, run):
    need("git")
    noon = "2024-01-01T12:00:00Z"
    dates = {"GIT_AUTHOR_DATE": noon, "GIT_COMMITTER_DATE": noon, "GIT_CONFIG_NOSYSTEM": "1",
             "GIT_PAGER": "cat"}
    return run([need("bash"), "-c", GIT], dates, limit=120)


CXX = r"""
#include <algorithm>
#include <iostream>
#include <map>
#include <numeric>
#include <regex>
#include <string>
#include <tuple>
#include <variant>
#include <vector>
template <int N> struct Fib { static constexpr long v = Fib<N - 1>::v + Fib<N - 2>::v; };
template <> struct Fib<1> { static constexpr long v = 1; };
template <> struct Fib<0> { static constexpr long v = 0; };
template <std::size_t... I> auto table(std::index_sequence<I...>) {
  return std::make_tuple(std::vector<std::variant<int, std::string>>(I + 1)...);
}
int main() {
  auto t = table(std::make_index_sequence<60>());
  std::map<std::string, std::vector<int>> m;
  for (int i = 0; i < 20000; i++) m["key" + std::to_string(i % 321)].push_back(i);
  long sum = 0;
  for (auto& [k, v] : m) sum += std::accumulate(v.begin(), v.end(), 0L) + long(k.size());
  std::regex word("([a-z]+)([0-9]+)");
  std::string text;
  for (auto& [k, v] : m) text += k + " ";
  auto n = std::distance(std::sregex_iterator(text.begin(), text.end(), word), {});
  std::cout << sum << ' ' << n << ' ' << Fib<60>::v << ' ' << std::get<59>(t).size() << '\n';
}
"""


@program("g++")
def gxx(context, run):
    compiler = need("g++")
    source = context.write("heavy.cc", CXX)
    script = f"{compiler} -std=c++17 -O1 heavy.cc -o heavy && ./heavy && cmp heavy heavy.first"
    if not context.path("heavy.first").exists():  # the native run comes first
        script = script.replace("&& cmp heavy heavy.first", "&& cp heavy heavy.first")
    return run([need("bash"), "-c", script], limit=120)


@program("jq")
def jq(context, run):
    query = ("[range(30000) | {id: ., name: (\"n\" + tostring), tags: [range(. % 5)]}]"
             " | group_by(.id % 10) | map({n: length, s: (map(.tags | add // 0) | add),"
             " last: (map(.name) | sort | last)}), (map(length) | add)")
    return run([need("jq"), "-n", "-c", query])


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for_port(port, child):
    for _ in range(200):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        if child.poll() is not None:
            raise Failed(f"redis-server ended with {child.returncode} at its start")
        time.sleep(0.05)
    raise Failed("redis-server does not listen")


def redis(mode):
    def run(context):
        server, bench, client = need("redis-server", "redis-benchmark", "redis-cli")
        port = free_port()
        folder = context.path("data")
        folder.mkdir()
        summary, log = context.path("summary.json"), context.path("server.log")
        with open(log, "wb") as out:
            child = context.start(
                [server, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", "",
                 "--daemonize", "no"],
                {"LD_PRELOAD": context.lib, "GRAFT_SUMMARY": summary, **mode},
                stdout=out, stderr=out)
        wait_for_port(port, child)

        def ask(*words):
            done = context.native([client, "-p", str(port), *words])
            check(done.status == 0, done.text())
            return done.out.strip()
        load = context.native([bench, "-p", str(port), "-P", "16", "-n", "20000", "-q",
                               "-r", "5000", "-d", "100",
                               "-t", "set,get,incr,lpush,sadd,hset,zadd,lrange_100"], limit=100)
        check(load.status == 0 and load.out.count("requests per second") >= 8, load.text())
        ask("set", "key", "v" * 1000)
        check(ask("get", "key") == "v" * 1000, "a value came back changed")
        check(ask("eval", "local s = 0 for i = 1, 10000 do s = s + #tostring(i) end return s", "0")
              == "38894", "Lua in redis counts wrong")
        keys = int(ask("dbsize"))
        check(keys > 1000, f"only {keys} keys")
        info = dict(re.findall(r"^(\w+):(.*?)\r?$", ask("info"), re.M))
        check(int(info["used_memory"]) > 1 << 20 and info["redis_mode"] == "standalone", str(info))
        check(ask("save") == "OK" and ask("bgsave").startswith("Background"), "cannot save")
        for _ in range(100):
            if "rdb_bgsave_in_progress:0" in ask("info", "persistence"):
                break
            time.sleep(0.1)
        check("rdb_last_bgsave_status:ok" in ask("info", "persistence"), "the forked save failed")
        ask("flushall")
        context.native([client, "-p", str(port), "shutdown", "nosave"])
        check(child.wait(timeout=20) == 0, f"redis-server ended with {child.returncode}")
        text = log.read_text(errors="replace")
        check("bye bye" in text and "graft:" not in text, text[-1000:])

        check(summary.exists(), "no run summary was written")
        state = json.loads(summary.read_text())
        check(state["graft"]["enabled"] and state["heap"]["misuse"] == 0, str(state))
        return f"used_memory {int(info['used_memory']) >> 10} KiB, {keys} keys"
    return run


for name, settings in MODES.items():
    CASES.add(f"programs.redis{name}", redis(settings))
