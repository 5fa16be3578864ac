"""Tests of scripts/outline and scripts/tighten.py, which rewrite machine code: `scripts/test format` runs them.

What each rule does is shown by a few lines in and out. What must not happen is looked for with programs by chance:
each runs before and after on the MIPS core below, and what a caller can see has to be the same."""
import contextlib
import importlib.machinery
import importlib.util
import io
import random
import re
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
loader = importlib.machinery.SourceFileLoader("outline", str(HERE / "outline"))
outline = importlib.util.module_from_spec(importlib.util.spec_from_loader("outline", loader))
loader.exec_module(outline)
tighten = outline.tighten

HEAD = "\t.set\tnoreorder\n\t.set\tnomacro\n\t.set\tnoat\n"


def function(name, body):
    """A function as the compiler writes it."""
    lines = (line if line.endswith(":") else "\t" + line for line in map(str.strip, body.strip().split("\n")))
    return f"\t.ent\t{name}\n{name}:\n\t.frame\t$sp,0,$ra\n{HEAD}" + "\n".join(lines) + f"\n\t.set\tat\n\t.end\t{name}\n"


def rewritten(text):
    """What scripts/outline makes of assembly."""
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder, "before.s"), Path(folder, "after.s")
        before.write_text(text)
        sys.argv = ["outline", str(before), str(after)]
        with contextlib.redirect_stderr(io.StringIO()):
            outline.main()
        return after.read_text()


def tightened(body, known=()):
    """The lines of a function's body after scripts/tighten.py."""
    units = outline.parse([line if line.strip().endswith(":") else "\t" + line for line in map(str.strip, body.strip().split("\n"))])
    tighten.traps(units, set(known), lambda code: outline.Unit("i", code))
    tighten.slots(units, set(known))
    return [line.strip() for line in outline.written(units)]


def instructions(text):
    return sum(outline.instruction(line) is not None for line in text.split("\n"))


class Panic(Exception):
    """A trap or a break: the program ends here."""


class Core:
    """So much of MIPS32 as the programs below are made of."""
    END = 0x1000_0000  # where the outermost function returns to

    def __init__(self, text):
        self.code, self.labels, self.tables, table = [], {}, {}, None
        for line in text.split("\n"):
            label = re.match(r"([$\w.]+):", line)
            word = re.match(r"\s*\.4byte\s*\((\S+)\)", line)
            if label:
                self.labels[label[1]] = len(self.code)
                table = self.tables.setdefault(label[1], [])
            elif word:
                table.append(word[1])
            else:
                code = outline.instruction(line)
                if code:
                    self.code.append(self.decode(code))
        self.where = {name: 0x40_0000 + 4 * n for name, n in self.labels.items()}
        self.where["data"] = 0x12_FFF0  # its halves carry
        for number, name in enumerate(sorted(n for n, words in self.tables.items() if words)):
            self.where[name] = 0x20_0000 + 0x100 * number

    def begin(self):
        """Memory as it is before anything runs."""
        self.memory = {}
        for name, words in self.tables.items():
            for n, target in enumerate(words):
                self.store(self.where[name] + 4 * n, 4, self.where[target])

    @staticmethod
    def decode(code):
        word, _, rest = code.partition(" ")
        return word, [part.strip() for part in rest.split(",")] if rest else []

    def load(self, at, size):
        if at % size:
            raise AssertionError(f"address {at:x} is not aligned")
        return sum(self.memory.get(at + n, 0) << 8 * n for n in range(size))

    def store(self, at, size, value):
        if at % size:
            raise AssertionError(f"address {at:x} is not aligned")
        for n in range(size):
            self.memory[at + n] = value >> 8 * n & 255

    def run(self, name, arguments):
        """Whether it came back, its results, what a caller keeps, and the memory that it can see."""
        self.registers = [(n * 0x9E3779B9 + 7) & 0xFFFFFFFF for n in range(34)]
        self.registers[0], self.registers[29], self.registers[31] = 0, 0x7FFF_0000, self.END
        self.registers[4:8] = arguments
        self.begin()
        at, left = self.where[name], 50_000
        try:
            while at != self.END:
                left -= 1
                if left < 0:
                    raise AssertionError(f"{name} does not end")
                place = (at - 0x40_0000) // 4
                word, operands = self.code[place]
                if word not in outline.BRANCHES:
                    self.step(word, operands)
                    at += 4
                    continue
                to = self.jump(word, operands, at)
                slot = self.code[place + 1]
                if slot[0] in outline.BRANCHES:
                    raise AssertionError(f"a jump in the delay slot of {word} {operands}")
                self.step(*slot)
                at = at + 8 if to is None else to
        except Panic:
            return ("panic",)
        keep = [self.registers[n] for n in (2, 3, *range(16, 24), 28, 29, 30)]
        return "end", keep, {at: byte for at, byte in self.memory.items() if at >= 0x7FFF_0000 or at < 0x20_0000}

    def get(self, name):
        return self.registers[int(tighten.NUMBER.get(name[1:], name[1:]))]

    def put(self, name, value):
        number = int(tighten.NUMBER.get(name[1:], name[1:]))
        if number:
            self.registers[number] = value & 0xFFFFFFFF

    def number(self, text):
        half = re.fullmatch(r"%(hi|lo)\(([^)+]+)\+?(\d*)\)", text)
        if not half:
            return int(text, 0)
        whole = self.where[half[2]] + int(half[3] or 0)
        return (whole + 0x8000) >> 16 if half[1] == "hi" else ((whole & 0xFFFF) ^ 0x8000) - 0x8000

    def signed(self, name):
        return (self.get(name) ^ 0x8000_0000) - 0x8000_0000

    def jump(self, word, operands, at):
        """Where to, if the jump is taken."""
        if word in ("jal", "jalr"):
            to = self.where[operands[-1]] if word == "jal" else self.get(operands[-1])
            self.registers[31] = at + 8
            return to
        if word == "jr":
            return self.get(operands[0])
        left = self.signed(operands[0]) if len(operands) > 1 else 0
        taken = {"b": lambda: True, "j": lambda: True, "beq": lambda: left == self.signed(operands[1]),
                 "bne": lambda: left != self.signed(operands[1]), "beqz": lambda: left == 0, "bnez": lambda: left != 0,
                 "blez": lambda: left <= 0, "bgtz": lambda: left > 0, "bltz": lambda: left < 0, "bgez": lambda: left >= 0}
        return self.where[operands[-1]] if taken[word]() else None

    def step(self, word, operands):
        if word == "nop":
            return
        if word == "break":
            raise Panic
        if word in tighten.TRAPS:
            unsigned = word.endswith("u")
            left = self.get(operands[0]) if unsigned else self.signed(operands[0])
            kind, right = word.rstrip("u"), operands[1]
            if right.startswith("$"):
                right = self.get(right) if unsigned else self.signed(right)
            else:
                kind, right = kind[:-1], self.number(right) & 0xFFFFFFFF if unsigned else self.number(right)
            if {"teq": left == right, "tne": left != right, "tge": left >= right, "tlt": left < right}[kind]:
                raise Panic
            return
        if word in ("lw", "lhu", "lbu", "sw", "sh", "sb"):
            offset, base = re.fullmatch(r"(.+)\((\$\w+)\)", operands[1]).groups()
            at = self.get(base) + self.number(offset) & 0xFFFFFFFF
            size = {"w": 4, "h": 2, "b": 1}[word[1]]
            if word[0] == "l":
                self.put(operands[0], self.load(at, size))
            else:
                self.store(at, size, self.get(operands[0]))
            return
        if word == "multu":
            product = self.get(operands[0]) * self.get(operands[1])
            self.registers[32], self.registers[33] = product & 0xFFFFFFFF, product >> 32
            return
        to, *rest = operands
        if word in ("mflo", "mfhi"):
            self.put(to, self.registers[32 + (word == "mfhi")])
            return
        first = self.get(rest[0]) if rest[0].startswith("$") else self.number(rest[0])
        second = 0
        if len(rest) > 1:
            second = self.get(rest[1]) if rest[1].startswith("$") else self.number(rest[1])
        if word in ("movn", "movz"):
            if (second != 0) == (word == "movn"):
                self.put(to, first)
            return
        value = {
            "addiu": lambda: first + second, "addu": lambda: first + second, "subu": lambda: first - second,
            "and": lambda: first & second, "andi": lambda: first & second, "or": lambda: first | second,
            "ori": lambda: first | second, "xor": lambda: first ^ second, "xori": lambda: first ^ second,
            "sll": lambda: first << (second & 31), "srl": lambda: first >> (second & 31), "lui": lambda: first << 16,
            "move": lambda: first, "sltu": lambda: first < second & 0xFFFFFFFF, "sltiu": lambda: first < second & 0xFFFFFFFF,
            "slt": lambda: self.signed(rest[0]) < self.signed(rest[1]), "slti": lambda: self.signed(rest[0]) < second,
        }[word]()
        self.put(to, int(value))


class Writer:
    """Writes a program by chance, as a compiler might: registers hold something where they are read, a callee
    keeps what it has to, each loop ends."""
    SCRATCH = [f"${n}" for n in (1, 2, 3, 8, 9, 10, 11, 12, 24, 25)]
    ARGUMENTS = ["$4", "$5", "$6", "$7"]

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.names = [f"f{n}" for n in range(12)]
        # a few pieces that stand in many places
        self.pieces = [[self.plain(self.ARGUMENTS + ["$2", "$3"], 24, self.ARGUMENTS + ["$2", "$3"]) for _ in range(n)]
                       for n in (3, 5, 8)]

    def text(self):
        out, blocks = "", {}
        for number, name in enumerate(self.names):
            if number in (7, 9):  # the same as an earlier one
                out += function(name, re.sub(rf"\$(BB|JTI){number - 3}_", rf"$\g<1>{number}_", blocks[number - 3]))
            else:
                blocks[number] = self.body(number)
                out += function(name, blocks[number])
        return out

    def plain(self, have, frame, into=None):
        """An instruction that reads what there is."""
        pick = self.random.choice
        to = pick(into or [*self.SCRATCH, *self.saved])
        a, b = pick(have), pick([*have, "$zero"])
        slot = f"{4 * self.random.randrange(frame // 4)}($sp)"
        return pick([
            f"addiu {to}, {a}, {self.random.randrange(-300, 300)}", f"addiu {to}, $zero, {self.random.randrange(-9, 9)}",
            f"addu {to}, {a}, {b}", f"subu {to}, {a}, {b}", f"xor {to}, {a}, {b}", f"or {to}, {a}, {b}",
            f"andi {to}, {a}, {self.random.randrange(256)}", f"sltu {to}, {a}, {b}", f"slti {to}, {a}, 7",
            f"sltiu {to}, {a}, 99", f"srl {to}, {a}, 3", f"sll {to}, {a}, 2", f"move {to}, {a}",
            f"lw {to}, {slot}", f"sw {a}, {slot}", f"lbu {to}, {slot}", f"sb {a}, {slot}", f"sh {a}, {slot}",
            f"lui {to}, 7", f"addiu {to}, $sp, 8"])

    def body(self, number):
        pick, chance = self.random.choice, self.random.random
        self.saved = [f"${n}" for n in range(23, 15, -1)][self.random.randrange(0, 9):]
        if len(self.saved) == 8 and chance() < 0.5:
            self.saved.insert(0, "$fp")
        leaf = number < 2 or (number < 4 and chance() < 0.5)
        locals_ = 24
        keeps = ([] if leaf and not self.saved else ["$ra"]) + self.saved
        frame = (locals_ + 4 * len(keeps) + 7) & ~7
        out = [f"addiu $sp, $sp, -{frame}"]
        out += [f"sw {r}, {frame - 4 * (n + 1)}($sp)" for n, r in enumerate(keeps)]
        have = set(self.ARGUMENTS)
        for n, register in enumerate(self.saved):
            out.append(f"move {register}, $4" if n else f"addiu {register}, $5, {number}")
        have |= set(self.saved)
        # locals hold something
        out += [f"sw {pick(self.ARGUMENTS)}, {at}($sp)" for at in range(0, locals_, 4)]
        blocks, waiting, panics, loop, table = self.random.randrange(3, 9), {}, [], None, None
        label = lambda n: f"$BB{number}_{n}"  # noqa: E731
        for block in range(blocks):
            if block and block in waiting:
                out.append(label(block) + ":")
                have = have & waiting.pop(block) if have is not None else waiting.pop(block)
            if have is None:
                continue
            if loop is None and not waiting and self.saved and block + 1 < blocks and chance() < 0.3:
                counter = pick(self.saved)
                loop = (block, counter, label(100 + block))
                have &= set(self.saved)
                out += [f"addiu {counter}, $zero, {self.random.randrange(1, 4)}", loop[2] + ":"]
                saved, self.saved = self.saved, [r for r in self.saved if r != counter]
                have.discard(counter)
            for _ in range(self.random.randrange(1, 7)):
                what = chance()
                readable = sorted(have) or ["$zero"]
                if what < 0.12 and have >= set(self.ARGUMENTS + ["$2", "$3"]):
                    out += pick(self.pieces)
                elif what < 0.2:
                    register = pick(self.SCRATCH)
                    offset = pick(["", "+4", "+16"])
                    out += [f"lui {register}, %hi(data{offset})", f"addiu {register}, {register}, %lo(data{offset})",
                            f"sw {pick(readable)}, 0({register})"]
                    have.add(register)
                elif what < 0.25:
                    out += [f"multu {pick(readable)}, {pick(readable)}", f"{pick(['mflo', 'mfhi'])} $9"]
                    have.add("$9")
                elif what < 0.29:
                    to = pick(readable)
                    if to != "$zero":
                        out.append(f"{pick(['movn', 'movz'])} {to}, {pick(readable)}, {pick(readable)}")
                elif what < 0.5 and not leaf:
                    if chance() < 0.5:
                        out.append(self.plain(readable, locals_))
                        out.pop() if not re.match(r"s[wbh] ", out[-1]) else None
                    calls = [f"addiu {r}, {pick(readable)}, {self.random.randrange(3)}" for r in self.ARGUMENTS[:2]]
                    calls += [f"addiu {r}, $zero, {n}" for n, r in enumerate(self.ARGUMENTS[2:])]
                    callee = self.names[self.random.randrange(min(number, 4))]
                    slot = calls.pop() if chance() < 0.6 else "nop"
                    if chance() < 0.15:
                        out += [*calls, f"lui $25, %hi({callee})", f"addiu $25, $25, %lo({callee})", "jalr $25", slot]
                    else:
                        out += [*calls, f"jal {callee}", slot]
                    have = set(self.saved) & have | {"$2", "$3"}
                    if chance() < 0.4:
                        out += [f"addiu {r}, $2, {n}" for n, r in enumerate(self.ARGUMENTS)]
                        have |= set(self.ARGUMENTS)
                else:
                    code = self.plain(readable, locals_)
                    out.append(code)
                    if not re.match(r"s[wbh] ", code):
                        have.add(code.split(" ")[1].rstrip(","))
            if loop is not None and (block > loop[0] or chance() < 0.5):
                counter = loop[1]
                out += [f"addiu {counter}, {counter}, -1", f"bgtz {counter}, {loop[2]}", "nop"]
                self.saved, loop = saved, None
                have.add(counter)
            readable = sorted(have) or ["$zero"]
            if chance() < 0.35:
                left = pick(readable)
                test = pick([[], [f"sltu $1, {left}, {pick(readable)}"], [f"slti $1, {left}, -5"]])
                register = "$1" if test else left
                have |= {"$1"} if test else set()
                out += test + [pick([f"beqz {register}, ", f"bnez {register}, ", f"bltz {register}, "]) + label(200 + block),
                               pick(["nop", "addiu $3, $zero, 1"])]
                if out[-1] != "nop":
                    have.add("$3")
                panics.append(label(200 + block))
                readable = sorted(have)
            if block + 1 < blocks and loop is None and chance() < 0.6:
                to = self.random.randrange(block + 1, blocks)
                slot = pick(["nop", "nop", f"addiu $3, {pick(readable)}, 5"])
                if slot != "nop":
                    have.add("$3")
                condition = pick([f"beq {pick(readable)}, {pick(readable)}, ", f"bnez {pick(readable)}, ",
                                  f"blez {pick(readable)}, ", "b ", "j "])
                waiting[to] = waiting.get(to, have) & have
                out += [condition + label(to), slot]
                if condition in ("b ", "j "):
                    have = None
        if have is None:  # nobody comes here
            have = set(self.saved)
        elif loop is not None:
            self.saved = saved
        if table is None and chance() < 0.3 and "$16" in have:
            one, two, join = label(300), label(301), label(302)
            table = f"$JTI{number}_0"
            out += ["andi $1, $16, 1", "sll $1, $1, 2", f"lui $2, %hi({table})", "addu $1, $1, $2",
                    f"lw $1, %lo({table})($1)", "jr $1", pick(["nop", "addiu $24, $16, 3"]),
                    one + ":", "addiu $16, $16, 1", f"j {join}", "nop", two + ":", "addiu $16, $16, 2", join + ":"]
            have -= {"$1", "$2"}  # places in the code, which differ
        readable = sorted(have) or ["$zero"]
        out += [f"addu $2, {pick(readable)}, {pick(readable)}", f"addiu $3, {pick(readable)}, 1"]
        out += [f"lw {r}, {frame - 4 * (len(keeps) - n)}($sp)" for n, r in enumerate(reversed(keeps))]
        out += ["jr $ra", f"addiu $sp, $sp, {frame}"]
        for name in panics:
            out += [name + ":", "break"]
        text = "\n".join(out)
        if table:
            text += f"\n.section .rodata\n{table}:\n.4byte ({one})\n.4byte ({two})\n.text"
        return text


class Chance(unittest.TestCase):
    def test_programs_do_the_same_before_and_after(self):
        fewer = ended = panicked = shared = 0
        for seed in range(40):
            text = Writer(seed).text()
            after = rewritten(text)
            fewer += instructions(text) - instructions(after)
            shared += "outlined.0" in after
            cores = Core(text), Core(after)
            for name in Writer(seed).names:
                for arguments in ([1, 2, 3, 4], [0, 0xFFFFFFFF, 7, 0x80000000]):
                    was, now = (core.run(name, arguments) for core in cores)
                    self.assertEqual(was, now, f"seed {seed}, {name}{arguments}:\n{text}\n---- after\n{after}")
                    ended += was[0] == "end"
                    panicked += was[0] == "panic"
        # that the programs were worth looking at
        self.assertGreater(min(ended, panicked), 100)
        self.assertGreater(shared, 30)
        self.assertGreater(fewer, 40 * 30)


class Tighten(unittest.TestCase):
    """What each rule of scripts/tighten.py does, and where it keeps its hands off."""

    def check(self, before, after, known=()):
        self.assertEqual(tightened(before, known), [line.strip() for line in after.strip().split("\n")])

    def test_a_branch_to_a_panic_is_a_trap(self):
        self.check("""
            beqz $4, $BB0_2
            nop
            jr $ra
            addiu $2, $zero, 1
            $BB0_2:
            break""", """
            teq $4, $zero
            jr $ra
            addiu $2, $zero, 1""")

    def test_with_the_comparison_before_it(self):
        self.check("""
            sltu $1, $5, $6
            beqz $1, $BB0_2
            nop
            jr $ra
            move $2, $5
            $BB0_2:
            break""", """
            tgeu $5, $6
            jr $ra
            move $2, $5""")

    def test_a_comparison_that_is_wanted_later_stays(self):
        self.check("""
            sltu $2, $5, $6
            beqz $2, $BB0_2
            nop
            jr $ra
            addiu $2, $2, 1
            $BB0_2:
            break""", """
            sltu $2, $5, $6
            teq $2, $zero
            jr $ra
            addiu $2, $2, 1
            """)

    def test_what_stood_in_the_slot_is_still_done(self):
        self.check("""
            bltz $4, $BB0_2
            addiu $2, $4, 3
            jr $ra
            nop
            $BB0_2:
            break""", """
            tlt $4, $zero
            jr $ra
            addiu $2, $4, 3""")

    def test_a_panic_that_a_table_leads_to_stays(self):
        self.check("""
            jr $1
            nop
            $BB0_2:
            break""", """
            jr $1
            nop
            $BB0_2:
            break""", known={"$BB0_2"})

    def test_a_slot_takes_what_comes_before_the_jump(self):
        self.check("""
            addiu $5, $sp, 8
            jal other
            nop""", """
            jal other
            addiu $5, $sp, 8""")

    def test_not_what_the_branch_looks_at(self):
        self.check("""
            addiu $5, $5, 8
            bnez $5, $BB0_1
            nop
            sw $4, 0($6)
            $BB0_1:
            jr $ra
            move $2, $4""", """
            addiu $5, $5, 8
            bnez $5, $BB0_1
            nop
            sw $4, 0($6)
            $BB0_1:
            jr $ra
            move $2, $4""")

    def test_a_call_through_a_register_keeps_its_address(self):
        self.check("""
            lw $25, 8($4)
            jalr $25
            nop""", """
            lw $25, 8($4)
            jalr $25
            nop""")

    def test_nothing_goes_behind_a_call_that_touches_its_return_address(self):
        self.check("""
            sw $ra, 4($sp)
            jal other
            nop""", """
            sw $ra, 4($sp)
            jal other
            nop""")

    def test_loads_and_stores_keep_their_order(self):
        self.check("""
            lw $2, 0($4)
            sw $3, 0($5)
            sw $5, 4($5)
            jr $ra
            move $3, $2""", """
            lw $2, 0($4)
            sw $3, 0($5)
            sw $5, 4($5)
            jr $ra
            move $3, $2""")
        # the load may not go behind the store, the store may
        self.check("""
            lw $2, 0($4)
            sw $3, 0($5)
            bnez $6, $BB0_1
            nop
            jr $ra
            move $3, $2
            $BB0_1:
            jr $ra
            move $3, $5""", """
            lw $2, 0($4)
            bnez $6, $BB0_1
            sw $3, 0($5)
            jr $ra
            move $3, $2
            $BB0_1:
            jr $ra
            move $3, $5""")

    def test_nothing_goes_behind_what_it_needs_or_changes(self):
        # the load stays, for the branch looks at it; what comes before it may not pass it
        for first in ("addu $7, $3, $4", "addiu $6, $6, 4", "addiu $3, $zero, 1", "sw $7, 0($4)", "sw $3, 0($sp)"):
            body = f"""
                {first}
                lw $3, 0($6)
                bnez $3, $BB0_1
                nop
                sw $7, 4($4)
                $BB0_1:
                jr $ra
                move $2, $7"""
            self.check(body, body)
        self.check("""
            addiu $7, $4, 1
            lw $3, 0($6)
            bnez $3, $BB0_1
            nop
            sw $7, 4($4)
            $BB0_1:
            jr $ra
            move $2, $7""", """
            lw $3, 0($6)
            bnez $3, $BB0_1
            addiu $7, $4, 1
            sw $7, 4($4)
            $BB0_1:
            jr $ra
            move $2, $7""")

    def test_what_follows_a_branch_only_where_the_other_side_does_not_read_it(self):
        self.check("""
            bnez $6, $BB0_1
            nop
            addiu $2, $4, 1
            jr $ra
            move $3, $2
            $BB0_1:
            addiu $2, $zero, 7
            jr $ra
            move $3, $5""", """
            bnez $6, $BB0_1
            addiu $2, $4, 1
            jr $ra
            move $3, $2
            $BB0_1:
            addiu $2, $zero, 7
            jr $ra
            move $3, $5""")
        body = """
            bnez $6, $BB0_1
            nop
            addiu $2, $4, 1
            $BB0_1:
            jr $ra
            move $3, $5"""
        self.check(body, body)

    def test_what_nobody_knows_is_nowhere_moved_over(self):
        body = """
            addiu $5, $sp, 8
            strange $3, $4
            jal other
            nop"""
        self.check(body, body)


class Outline(unittest.TestCase):
    """What scripts/outline shares."""
    END = """
        lw $17, 20($sp)
        lw $18, 24($sp)
        lw $ra, 28($sp)
        jr $ra
        addiu $sp, $sp, 32"""

    def test_ends_that_are_alike_stand_once(self):
        after = rewritten("".join(function(f"f{n}", f"addiu $2, $4, {n}" + self.END) for n in range(6)))
        self.assertEqual(after.count("lw $17"), 1)
        self.assertEqual(after.count("j outlined.0"), 6)

    def test_a_function_that_is_the_same_becomes_a_jump(self):
        body = "\n".join(f"sw ${n}, {4 * n}($4)" for n in range(2, 9)) + "\njr $ra\naddiu $2, $zero, 1"
        after = rewritten(function("one", body) + function("two", body))
        self.assertIn("\tj one\n\tnop\n", after)
        self.assertEqual(after.count("sw $2, 8($4)"), 1)

    def test_a_run_is_not_called_where_the_return_address_is_wanted(self):
        # leaves: their return address stands in $ra alone
        run = "\n".join(f"sw ${n}, {4 * n}($4)" for n in range(2, 9))
        text = "".join(function(f"f{n}", f"{run}\nxori $2, $4, {n}\nsw $2, 0($4)\njr $ra\naddiu $3, $zero, {n}") for n in range(5))
        self.assertNotIn("jal", rewritten(text))

    def test_halves_of_an_address_stay_together(self):
        parts = ["sw $5, 0($6)", "sw $5, 4($6)", "lui $4, %hi(data)", "sw $5, 8($6)", "sw $5, 12($6)"]
        text = "".join(function(f"f{n}", "\n".join([
            "addiu $sp, $sp, -8", "sw $ra, 4($sp)", *parts, f"addiu $4, $4, %lo(data+{n})", "jal other", "nop",
            "lw $ra, 4($sp)", "jr $ra", "addiu $sp, $sp, 8"])) for n in range(6))
        after = rewritten(text)
        self.assertEqual(after.count("lui $4, %hi(data)"), 6)

    def test_loops_without_a_call_and_rooms_of_speed_are_left_alone(self):
        run = "\n".join(f"sw ${n}, {4 * n}($4)" for n in range(2, 9))
        loop = lambda n: f"$BB{n}_1:\n{run}\naddiu $5, $5, -1\nbgtz $5, $BB{n}_1\naddiu $4, $4, 64\n"  # noqa: E731
        text = "".join(function(f"f{n}", "addiu $sp, $sp, -8\nsw $ra, 4($sp)\n" + loop(n) +
                                f"jal other\naddiu $4, $zero, {n}\nlw $ra, 4($sp)\njr $ra\naddiu $sp, $sp, 8") for n in range(5))
        self.assertEqual(rewritten(text).count("sw $8, 32($4)"), 5)
        text = "".join(function(f"_RN4sha2{n}", f"sw $2, {n}($4)" + self.END) for n in range(6))
        self.assertNotIn("outlined.0", rewritten(text))

    def test_what_it_does_not_know_it_leaves_as_it_is(self):
        strange = "bgezal $4, other\nnop\n" + self.END
        text = "".join(function(f"f{n}", strange) for n in range(6))
        self.assertEqual(rewritten(text).split("\t.section\t.text.outlined")[0].strip(), text.strip())

    def test_foreign_assembly_stays_whole(self):
        text = "".join(function(f"f{n}", f"#APP\nsyscall\nli $9, {n}\nsw $9, 0($4)\nsw $9, 4($4)\n#NO_APP\n" + self.END) for n in range(6))
        after = rewritten(text)
        self.assertEqual(after.count("\tsyscall\n"), 6)
        self.assertEqual(after.count("\tsw $9, 4($4)\n"), 6)


if __name__ == "__main__":
    unittest.main()
