"""What scripts/outline does inside of single functions before it compares them: MIPS assembly in, the same with
fewer instructions out.

- A branch to a `break` (which is what a panic is here) becomes a trap that fires by itself: `beqz $2, label`
  is `teq $2, $zero`, and with the comparison before it `tgeu $4, $5`.
- A delay slot that holds nothing takes the next instruction before the jump that does not matter to what lies
  between, or what follows a branch, if where the branch leads nobody reads what that writes.

What reads and writes which register is known for the instructions that compilers write; whatever else there is
counts as reading all of them, stays where it is, and nothing is moved over it."""
import re

REGISTER = re.compile(r"\$(\d{1,2}|zero|at|fp|sp|ra|gp)(?![\w.])")
NUMBER = {"zero": 0, "at": 1, "gp": 28, "sp": 29, "fp": 30, "ra": 31}
PRODUCT = 1 << 32  # hi and lo
ALL = (1 << 33) - 2
PLAIN = {"addiu", "addu", "subu", "and", "andi", "or", "ori", "xor", "xori", "nor", "sll", "srl", "sra", "sllv",
         "srlv", "srav", "slt", "sltu", "slti", "sltiu", "lui", "move", "ext", "seb", "seh", "wsbh", "rotr", "rotrv",
         "clz", "clo", "negu", "not"}
PARTLY = {"movn", "movz", "ins", "lwl", "lwr"}  # part of what was there stays
LOADS = {"lw", "lh", "lhu", "lb", "lbu", "lwl", "lwr"}
STORES = {"sw", "sh", "sb", "swl", "swr"}
PRODUCTS = {"mult", "multu", "div", "divu"}
SUMS = {"madd", "maddu", "msub", "msubu"}
TRAPS = {"teq", "tne", "tge", "tgeu", "tlt", "tltu", "tgei", "tgeiu", "tlti", "tltiu"}
# what a caller of a function still wants of it, results included
RETURN = sum(1 << n for n in (2, 3, 4, 5, *range(16, 24), 28, 29, 30, 31))
FAR = 12  # instructions that are looked at for a slot
known_effects = {}


def registers(code):
    mask = 0
    for name in REGISTER.findall(code):
        mask |= 1 << int(NUMBER.get(name, name))
    return mask & ALL


def effects(code):
    """Registers that an instruction reads, those that it writes, and what it does with memory: None nothing,
    "load", "store", "trap" (whatever is seen from outside stays before or behind it), "?" nobody knows."""
    if code not in known_effects:
        word, _, rest = code.partition(" ")
        first, _, others = rest.partition(",")
        if word == "nop":
            found = 0, 0, None
        elif word in PLAIN | PARTLY | LOADS:
            reads = registers(rest if word in PARTLY else others)
            found = reads, registers(first), "load" if word in LOADS else None
        elif word in STORES:
            found = registers(rest), 0, "store"
        elif word in PRODUCTS:
            found = registers(rest), PRODUCT, None
        elif word in SUMS:
            found = registers(rest) | PRODUCT, PRODUCT, None
        elif word == "mul":
            found = registers(others), registers(first) | PRODUCT, None
        elif word in ("mflo", "mfhi"):
            found = PRODUCT, registers(rest), None
        elif word in ("mtlo", "mthi"):
            found = registers(rest) | PRODUCT, PRODUCT, None
        elif word in TRAPS:
            found = registers(rest), 0, "trap"
        else:
            found = ALL, 0, "?"
        known_effects[code] = found
    return known_effects[code]


def word(unit):
    return unit.text.split(" ")[0]


def always(unit):
    """A jump that is always taken."""
    return unit.kind == "e" or unit.kind == "x" and word(unit) in ("b", "j", "jr")


def panics(unit):
    return unit.kind == "o" and word(unit) == "break"


def wanted(units, known):
    """Registers that are still read, before each unit (one more for the end); and where labels are."""
    labels = {u.target: n for n, u in enumerate(units) if u.kind == "l"}
    taken = [n for name, n in labels.items() if name in known]
    before = [0] * len(units) + [ALL]
    changed = True
    while changed:
        changed = False
        for n in range(len(units) - 1, -1, -1):
            unit, need = units[n], before[n + 1]
            if unit.kind == "e":
                need = RETURN if unit.text.startswith("jr ") else ALL
            elif unit.kind == "c":
                need = ALL  # functions of our own may take their arguments in any register
            elif unit.kind == "x":
                need = need if not always(unit) else 0
                if unit.target is None:
                    for label in taken:
                        need |= before[label]
                    need = need if taken else ALL
                else:
                    need |= before[labels[unit.target]] if unit.target in labels else ALL
            elif panics(unit):
                need = 0
            elif unit.kind == "o" and not unit.text.startswith("."):
                need = ALL
            for code in (unit.slot, unit.text if unit.kind == "i" else None):
                if code is not None:
                    reads, writes, _ = effects(code)
                    need = need & ~writes | reads
            if unit.kind in "cex":
                need |= registers(unit.text)
            if need != before[n]:
                before[n] = need
                changed = True
    return before, labels


def trap(branch, comparison):
    """The trap in the place of a branch, and whether it does what the comparison before it did."""
    name, _, rest = branch.partition(" ")
    left, *others = [o.strip() for o in rest.split(",")][:-1]
    right = others[0] if others else "$zero"
    if name in ("beq", "beqz", "bne", "bnez"):
        equal = name.startswith("beq")
        what, _, of = (comparison or "").partition(" ")
        operands = [o.strip() for o in of.split(",")]
        if right == "$zero" and operands[0] == left and what in ("slt", "sltu", "slti", "sltiu"):
            ending = what[3:]
            return f"{'tge' if equal else 'tlt'}{ending} {operands[1]}, {operands[2]}", True
        if right == "$zero" and operands[0] == left and what == "xor":
            return f"{'teq' if equal else 'tne'} {operands[1]}, {operands[2]}", True
        return f"{'teq' if equal else 'tne'} {left}, {right}", False
    return {"bltz": f"tlt {left}, $zero", "bgez": f"tge {left}, $zero", "blez": f"tge $zero, {left}",
            "bgtz": f"tlt $zero, {left}"}.get(name), False


def traps(units, known, make):
    """Branches to a `break` become traps; `make` makes an instruction."""
    before, labels = wanted(units, known)
    dead = set()
    for name, n in labels.items():
        while n < len(units) and (units[n].kind == "l" or units[n].text.startswith(".")):
            n += 1
        if n < len(units) and panics(units[n]):
            dead.add(name)
    out = []
    for n, unit in enumerate(units):
        if unit.kind == "x" and unit.target in dead and not always(unit):
            last = out[-1].text if out and out[-1].kind == "i" else None
            tested = registers(unit.text)
            # nobody else looks at what was compared
            if before[n + 1] & tested or effects(unit.slot)[0] & tested:
                last = None
            code, whole = trap(unit.text, last)
            if code:
                if whole:
                    out.pop()
                out.append(make(code))
                if unit.slot != "nop":
                    out.append(make(unit.slot))
                continue
        out.append(unit)
    # a `break` that nobody comes to any more
    used = {u.target for u in out if u.kind == "x"} | known
    units.clear()
    at = 0
    while at < len(out):
        unit = out[at]
        if unit.kind == "l" and unit.target in dead and unit.target not in used and panics(out[at + 1]):
            last = next((u for u in reversed(units) if u.kind != "o" or not u.text.startswith(".")), None)
            if last is not None and (always(last) or panics(last)):
                at += 2
                continue
        units.append(unit)
        at += 1


def earlier(units, n, gone):
    """What comes before a jump and may as well stand in its delay slot."""
    jump = units[n]
    # a call takes its address before the slot and its return address is written by then
    reads = registers(jump.text) if jump.kind != "c" or word(jump) == "jalr" else 0
    writes = 1 << 31 if jump.kind == "c" else 0
    loads = stores = False
    for k in range(n - 1, max(n - 1 - FAR, -1), -1):
        if k in gone:
            continue
        if units[k].kind != "i":
            return None
        here, there, memory = effects(units[k].text)
        if memory == "?":
            return None
        free = not (there & (reads | writes) or here & writes or (here | there) & writes)
        if jump.kind == "c" and (here | there) >> 31 & 1:
            free = False
        if memory == "trap" or memory == "load" and stores or memory == "store" and (loads or stores):
            free = False
        if free:
            return k
        reads, writes = reads | here, writes | there
        loads |= memory in ("load", "trap")
        stores |= memory in ("store", "trap")
    return None


def slots(units, known):
    """Fills what delay slots it can."""
    before, labels = wanted(units, known)
    gone = set()
    for n, unit in enumerate(units):
        if unit.kind not in "cex" or unit.slot != "nop":
            continue
        found = earlier(units, n, gone)
        follows = units[n + 1] if n + 1 < len(units) else None
        if found is None and unit.kind == "x" and unit.target in labels and not always(unit) and follows and follows.kind == "i":
            _, there, memory = effects(follows.text)
            # done also where the branch leads: it must not be seen there, and must not fail
            harmless = memory is None or memory == "load" and follows.text.endswith("($sp)")
            if harmless and not there & (before[labels[unit.target]] | 1 << 29):
                found = n + 1
        if found is not None:
            unit.slot = units[found].text
            gone.add(found)
    units[:] = [unit for n, unit in enumerate(units) if n not in gone]
