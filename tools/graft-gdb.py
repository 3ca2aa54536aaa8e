"""Gs for gdb: `source graft-gdb.py` in a session on a live process that runs on graft with
GRAFT_THREADS=m:n. gdb itself shows kernel threads only.

  graft-gs        lists the living Gs: id, state, name, where a running one is
  graft-bt ID     unwinds one that waits or is queued

graft-bt lends the selected thread the registers that the switch saved on the G's stack
(core/os/switch_amd64.S), has gdb unwind, and gives it its own back; the process does not run in
between. A core file has no registers to lend: there graft-gs alone works."""

import gdb

SAVED = ("r15", "r14", "r13", "r12", "rbx", "rbp", "rip")  # above the control words, upwards
FREE, RUNNABLE, RUNNING, DEAD = 0, 1, 2, 6
STATES = {1: "runnable", 2: "running", 3: "waiting", 4: "waiting", 5: "waiting"}


def atomic(value):
    """What a base::Atomic or OptionValue holds."""
    return value["v_"]


def scheduler():
    # Not by an expression: the program's language may be C.
    root = gdb.lookup_global_symbol("graft::runtime::rt")
    if root is None:
        raise gdb.GdbError("libgraft.so with its debug information is not loaded")
    sched = root.value()["sched"]
    if int(atomic(sched["on_"])) == 0:
        raise gdb.GdbError("the program has no Gs: GRAFT_THREADS is not m:n, or it has made no "
                           "thread yet")
    return sched


def living():
    """(G, state) of every living one."""
    pool = scheduler()["gs_"]
    first = pool["base_"].cast(gdb.lookup_type("graft::sched::G").pointer())
    for i in range(int(atomic(pool["made_"]))):
        g = (first + i).dereference()
        state = int(atomic(g["state"]["state_"]))
        if state not in (FREE, DEAD):
            yield g, state


def name_of(g):
    if int(g["user"]) == 0:
        return ""
    thread = g["user"].cast(gdb.lookup_type("graft::shims::Thread").pointer())
    try:
        return thread["name"].string(errors="replace")
    except gdb.error:
        return "?"


def lwp_of(g):
    return int(atomic(g["m"]["tid"])) if int(g["m"]) != 0 else 0


class ListGs(gdb.Command):
    """Lists the threads of a program on graft: graft-gs"""

    def __init__(self):
        super().__init__("graft-gs", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        for g, state in living():
            where = ""
            if state == RUNNING:
                where = f"on LWP {lwp_of(g)}"
            elif int(atomic(g["wait"]["bucket"])) != 0:
                where = f"at {int(g['wait']['addr']):#x}"
            print(f"{int(g['id']):6} {STATES[state]:9}{name_of(g):16} {where}")


class Backtrace(gdb.Command):
    """Unwinds a thread of a program on graft that does not run: graft-bt ID"""

    def __init__(self):
        super().__init__("graft-bt", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        try:
            wanted = int(argument)
        except ValueError:
            raise gdb.GdbError("usage: graft-bt ID; graft-gs lists them")
        for g, state in living():
            if int(g["id"]) != wanted:
                continue
            if state == RUNNING:
                print(f"G {wanted} is on LWP {lwp_of(g)}: select that thread and use bt")
            else:
                unwind(int(g["ctx"]["sp"].cast(gdb.lookup_type("long"))))
            return
        print(f"there is no G {wanted}; graft-gs lists them")


def unwind(sp):
    if from_core():
        raise gdb.GdbError("graft-bt needs a live process: a core file has no registers to lend")
    words = gdb.selected_inferior().read_memory(sp, 8 * (len(SAVED) + 1)).tobytes()
    lent = {name: int.from_bytes(words[8 * (i + 1):8 * (i + 2)], "little")
            for i, name in enumerate(SAVED)}
    lent["rsp"] = sp + len(words)
    own = {name: int(gdb.newest_frame().read_register(name).cast(gdb.lookup_type("long")))
           for name in lent}
    try:
        set_registers(lent)
        gdb.execute("bt")
    finally:
        set_registers(own)


def from_core():
    connection = getattr(gdb.selected_inferior(), "connection", None)
    return connection is not None and connection.type == "core"


def set_registers(values):
    for name, value in values.items():
        gdb.newest_frame().select()
        gdb.execute(f"set ${name} = {value & (1 << 64) - 1:#x}", to_string=True)
    gdb.newest_frame().select()


ListGs()
Backtrace()
