"""Compiled CUDA kernels without a GPU: their PTX, translated to C, runs on the CPU, one warp at a time.

Triton's interpreter runs the source of a kernel. This runs what the compiler made of it for a given GPU: fused
multiply-adds, exchanges between threads, arguments that were specialised. Tensors stay on the CPU::

    driver = ptx.use()               # before kernels are launched, and without TRITON_INTERPRET
    kernel[grid](tensor, 3)          # Triton compiles for sm_90, as on a GPU; the PTX runs here
    driver.executed("kernel")        # how many instructions warps have executed

A block must be one warp. Its threads run in lockstep; where they part, those that are first in the code go on first.
Checked as it runs: every access lies within memory that is there (a tensor of the launch, shared, the thread's own) and
is aligned, and no thread is missing where all must meet. Not shown: the order of blocks, time, the last bits of
``sqrt.approx`` and ``div.full`` (exact here), and that ``.ftz`` takes denormal numbers for 0.

Source: NVIDIA, Parallel Thread Execution ISA 8.8. What kernels of this package don't use is refused
(:class:`Unsupported`).
"""

import ctypes
import hashlib
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase

WARP = 32
_PRELUDE = r"""
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
typedef uint8_t u8; typedef uint16_t u16; typedef uint32_t u32; typedef uint64_t u64; typedef unsigned __int128 u128;
typedef int8_t s8; typedef int16_t s16; typedef int32_t s32; typedef int64_t s64; typedef __int128 s128;
typedef float f32; typedef double f64; typedef u8 pred;
#define THREADS for (int l = 0; l < 32; l++)
#define LOCAL (1ull << 62) /* where generic addresses of a thread's own memory begin */
static f32 as_f32(u32 x) { f32 y; memcpy(&y, &x, 4); return y; }
static f64 as_f64(u64 x) { f64 y; memcpy(&y, &x, 8); return y; }
static u32 of_f32(f32 x) { u32 y; memcpy(&y, &x, 4); return y; }
static u64 of_f64(f64 x) { u64 y; memcpy(&y, &x, 8); return y; }
static s32 whole(f64 x, s32 nan) {
  return x != x ? nan : x <= INT32_MIN ? INT32_MIN : x >= INT32_MAX ? INT32_MAX : (s32)x;
}
static u32 prmt(u32 a, u32 b, u32 choice) {
  u64 both = (u64)b << 32 | a; u32 d = 0;
  for (int i = 0; i < 4; i++) {
    u32 k = choice >> 4 * i & 15, byte = both >> 8 * (k & 7) & 255;
    d |= (k & 8 ? (byte & 128 ? 255 : 0) : byte) << 8 * i;
  }
  return d;
}
static u32 bfe_u32(u32 a, u32 b, u32 n) { return b > 31 || !n ? 0 : a >> b & (n > 31 ? ~0u : (1u << n) - 1); }
static s32 bfe_s32(s32 a, u32 b, u32 n) { return !n ? 0 : b + n > 31 ? a >> (b > 31 ? 31 : b) : (s32)((u32)a << (32 - b - n)) >> (32 - n); }
typedef struct { u64 first, end; } Span;
static Span spans[256]; static int n_spans; static char failure[512];
static void fail(const char *what, int thread, u64 at, const char *instruction) {
  if (!failure[0]) snprintf(failure, sizeof failure, "%s (thread %d, address %#lx): %s", what, thread, (long)at, instruction);
}
static int within(u64 at, int size, int thread, const char *instruction) {
  if (at % size) { fail("misaligned address", thread, at, instruction); return 0; }
  for (int i = 0; i < n_spans; i++) if (at >= spans[i].first && at + size <= spans[i].end) return 1;
  fail("outside of every tensor", thread, at, instruction); return 0;
}
static int below(u64 end, u64 at, int size, int thread, const char *instruction) {
  if (at % size == 0 && at + size <= end) return 1;
  fail(at % size ? "misaligned address" : "outside of its memory", thread, at, instruction); return 0;
}
static u8 shared[232448] __attribute__((aligned(128)));
static u64 times[BLOCKS];
"""  # noqa: E501
_LAUNCH = """
const char *launch(u32 nx, u32 ny, u32 nz, const u64 *params, const Span *tensors, int n) {
  failure[0] = 0; n_spans = 0;
  CONSTANTS
  for (int i = 0; i < n; i++) spans[n_spans++] = tensors[i];
  for (u32 z = 0; z < nz; z++) for (u32 y = 0; y < ny; y++) for (u32 x = 0; x < nx; x++) {
    if (failure[0]) return failure;
    KERNEL(x, y, z, nx, ny, nz, params);
  }
  return failure;
}
u64 *executed(void) { return times; }
"""
_OWN = 64  # bytes of memory of its own that a thread has here
_PASSED = 16  # bytes of a parameter or a result of a function, at most: a float and the quadrant of an angle
_KNOWN = re.compile(
    r"bra(\.uni)?|ret|call\.uni|bar\.(warp\.)?sync|mov\.(pred|[bsuf]\d+)|cvta\.local\.u64"
    r"|shfl\.sync\.(idx|bfly|up)\.b32|redux\.sync\.(min|max|and|or|xor)\.[bsu]32"
    r"|(ld|st)(\.param|\.global(\.nc)?|\.shared(::cta)?|\.local)?(\.v[24])?\.[bsuf]\d+"
    r"|setp\.((eq|ne|lt|le|gt|ge)u?|lo|ls|hi)\.[bsuf]\d+|selp\.[bsuf]\d+|(and|or|xor|not)\.(pred|b\d+)"
    r"|(shl|shr)\.[bsu]\d+|shf\.l\.wrap\.b32|prmt\.b32|bfe\.[su]32|clz\.b\d+"
    r"|(add|sub|mul|fma|div|sqrt)(\.rn|\.approx|\.full)?(\.ftz)?\.f\d+|(neg|abs|min|max|copysign)(\.ftz)?\.f\d+"
    r"|(add|sub|neg|abs|min|max|div|rem)\.[su]\d+|(add|addc|sub|subc)(\.cc)?\.[su]\d+"
    r"|(mul|mad|madc)\.(lo|hi|wide)(\.cc)?\.[su]\d+|cvt(\.rn|\.rzi|\.rni|\.rmi|\.rpi)?(\.ftz)?\.[suf]\d+\.[suf]\d+"
)
_SPECIAL = {
    "%tid.x": "l", "%tid.y": "0", "%tid.z": "0", "%laneid": "l", "%ctaid.x": "bx", "%ctaid.y": "by", "%ctaid.z": "bz",
    "%nctaid.x": "nx", "%nctaid.y": "ny", "%nctaid.z": "nz",
}  # fmt: skip
_BOTH = {  # of floats and of whole numbers, where the type decides
    "add": "{0} + {1}", "sub": "{0} - {1}", "div": "{0} / {1}", "neg": "-{0}",
}  # fmt: skip
_FLOAT = _BOTH | {
    "mul": "{0} * {1}", "fma": "fma{f}({0}, {1}, {2})", "abs": "fabs{f}({0})", "sqrt": "sqrt{f}({0})",
    "min": "fmin{f}({0}, {1})", "max": "fmax{f}({0}, {1})", "copysign": "copysign{f}({1}, {0})",
}  # fmt: skip
_WHOLE = _BOTH | {
    "div": "{1} ? {0} / {1} : -1", "rem": "{1} ? {0} % {1} : {0}", "abs": "{0} < 0 ? -{0} : {0}",
    "min": "{0} < {1} ? {0} : {1}", "max": "{0} > {1} ? {0} : {1}",
}  # fmt: skip
_BITS = {"and": "{0} & {1}", "or": "{0} | {1}", "xor": "{0} ^ {1}", "not": "~{0}"}
_COMPARED = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "lo": "<", "ls": "<=", "hi": ">"}


class Unsupported(Exception):
    """PTX, or a launch, that is refused: what this runner doesn't know it doesn't guess."""


class _Function:
    """The C of one PTX function: registers become arrays over the threads, blocks of instructions cases of a switch."""

    def __init__(self, name: str, text: str, constants: set[str], parameters: list[str]) -> None:
        self.constants, self.is_kernel = constants, not parameters
        self.kinds: dict[str, str] = {}  # of registers
        self.passed: list[str] = []  # parameters and results of the functions that are called
        self.blocks: list[list[str]] = [[]]
        self.labels: dict[str, int] = {}
        self._read(text)
        head = f"static void {name}(u32 bx, u32 by, u32 bz, u32 nx, u32 ny, u32 nz, const u64 *params) {{"
        head += "\n  const u32 active = ~0u;"
        if parameters:
            given = "".join(f", u8 (*{p})[{_PASSED}]" for p in parameters)
            head = f"static void {name}(u32 active, u8 (*above)[{_OWN}]{given}) {{"
        registers = (f"static {_type(kind)} {_c(r)}[32];" for r, kind in self.kinds.items())
        self.head = [head, *registers, *(f"static u8 {p}[32][{_PASSED}];" for p in self.passed)]

    def _read(self, text: str) -> None:
        """Sort statements into blocks; what a scope in braces declares gets names of its own."""
        scopes: list[dict[str, str]] = [{}]
        for serial, statement in enumerate(_statements(text)):
            if statement == "{":
                scopes.append({})
            elif statement == "}":
                scopes.pop()
            elif label := re.fullmatch(r"(\S+):", statement):
                if label[1].startswith("$L__BB"):
                    self.labels[label[1]] = len(self.blocks)
                    self.blocks.append([])
            elif passed := _passed(statement):  # to or from a function that is called
                scopes[-1] |= {name: f"{name}_{serial}" for name in passed}
                self.passed += [f"{name}_{serial}" for name in passed]
            elif declared := re.match(r"\.reg \.(\w+) (.*)", statement):
                for one in declared[2].split(", "):
                    if many := re.fullmatch(r"(%\w+)<(\d+)>", one):
                        self.kinds |= {f"{many[1]}{k}": declared[1] for k in range(int(many[2]))}
                    else:
                        scopes[-1][one] = f"{one}_{serial}"
                        self.kinds[scopes[-1][one]] = declared[1]
            elif own := re.match(r"\.local \.align \d+ \.b8 \w+\[(\d+)\]", statement):
                if int(own[1]) > _OWN:
                    raise Unsupported(f"a thread with {own[1]} bytes of its own in PTX: raise _OWN")
            elif statement[0] != ".":
                for scope in scopes:
                    for old, new in scope.items():
                        statement = re.sub(rf"(?<![\w%$]){re.escape(old)}(?!\w)", new, statement)
                self.blocks[-1].append(statement)
                if re.match(r"(@\S+ )?(bra|ret)\b", statement):
                    self.blocks.append([])

    def source(self, first: int) -> str:
        """The function; ``first`` is the number of its first block, by which executions are counted."""
        lines = [
            *self.head,
            f"static u8 local[32][{_OWN}] __attribute__((aligned(16))); static pred carry[32]; u32 at[32];",
        ]
        lines += [
            "THREADS at[l] = active >> l & 1 ? 0 : ~0u;",
            "for (;;) {",
            "  u32 now = ~0u, m[32], here = 0; THREADS now = at[l] < now ? at[l] : now;",
            "  if (now == ~0u || failure[0]) return;",
            "  THREADS { m[l] = at[l] == now; here |= m[l] << l; }",
            "  switch (now) {",
        ]
        for number, block in enumerate(self.blocks):
            following = number + 1 if number + 1 < len(self.blocks) else "~0u"
            lines.append(f"  case {number}: times[{first + number}]++; THREADS if (m[l]) at[l] = {following};")
            lines += [f"    {self._instruction(statement)}" for statement in block]
            lines.append("    break;")
        return "\n".join([*lines, "  }", "}", "}"])

    def _value(self, operand: str, kind: str) -> str:
        """An operand, read as a type."""
        if operand in self.kinds:
            raw = f"{_c(operand)}[l]"
        elif operand in _SPECIAL:
            raw = f"(u32)({_SPECIAL[operand]})"
        elif operand in self.constants:
            raw = f"(u64){_c(operand)}"
        elif operand.startswith("__local_depot") or operand == "global_smem":
            raw = "0"  # addresses there count from 0
        elif found := re.fullmatch(r"0[fd]([0-9A-F]+)", operand):
            raw = f"0x{found[1]}ull"
        elif found := re.fullmatch(r"(-?(?:0x[0-9A-Fa-f]+|\d+))U?", operand):
            raw = f"(s64){found[1]}ll"
        else:
            raise Unsupported(f"operand {operand} in PTX")
        if kind == "pred":
            return f"(({raw}) != 0)"
        return f"as_{kind}({raw})" if kind[0] == "f" else f"(({_type(kind)})({raw}))"

    def _put(self, register: str, kind: str, expression: str) -> str:
        """Write a result of a type to a register, which may be wider."""
        if register == "_":
            return ""
        if kind[0] == "f":
            expression = f"of_{kind}({expression})"
        elif kind != "pred":
            expression = f"({_type(kind)})({expression})"
        return f"{_c(register)}[l] = ({_type(self.kinds[register])})({expression});"

    def _instruction(self, statement: str) -> str:
        """The C of an instruction, for the threads that are here and whose guard holds."""
        guard, text = re.fullmatch(r"(?:@(\S+) )?(.*)", statement).groups()
        name, _, rest = text.partition(" ")
        active = "m[l]" if guard is None else f"(m[l] && {'!' * (guard[0] == '!')}{_c(guard.lstrip('!'))}[l])"
        op, args, quoted = name.split("."), _operands(rest), '"' + statement.replace('"', "'") + '"'
        exchange = op[0] in ("bar", "shfl", "redux")
        if not _KNOWN.fullmatch(name) or (exchange and guard):
            raise Unsupported(f"{statement} in PTX")
        if exchange:  # threads meet; in lockstep they have
            meet = f'if (here != ~0u) fail("threads are missing", -1, here, {quoted});'
            if op[0] != "bar":
                named = f"{self._value(args[-1], 'u32')} != ~0u"
                meet += f' THREADS if ({named}) fail("not all threads are named", l, here, {quoted});'
            return f"{{ {meet} {'' if op[0] == 'bar' else self._exchange(op, args)} }}"
        if op[0] == "call":
            given = ", ".join(_c(a) for a in _operands(args[0].strip("()")) + _operands(args[2].strip("()")))
            return f"{{ u32 who = 0; THREADS who |= (u32){active} << l; {args[1]}(who, local, {given}); }}"
        if op[0] in ("ld", "st"):
            each = self._memory(op, args, quoted)
        elif op[0] == "bra":
            each = f"at[l] = {self.labels[args[0]]};"
        elif op[0] == "ret":
            each = "at[l] = ~0u;"
        else:
            each = self._computed(op, args)
        return f"THREADS if ({active}) {{ {each} }}"

    def _exchange(self, op: list[str], args: list[str]) -> str:
        """Shuffles and reductions: read what all threads hold, then write."""
        if op[0] == "redux":
            kind, how = op[-1].replace("b", "u"), op[2]
            step = _BITS.get(how) or _WHOLE[how]
            total = f"{kind} all = was[0]; for (int i = 1; i < 32; i++) all = {step.format('all', 'was[i]')};"
            return f"{kind} was[32]; THREADS was[l] = {self._value(args[1], kind)}; {total} " + (
                f"THREADS {self._put(args[0], kind, 'all')}"
            )
        to, _, valid = args[0].partition("|")
        k = self._value(args[2], "u32")
        source, clamp = {"idx": (f"{k} & 31", "31"), "bfly": (f"l ^ {k}", "31"), "up": (f"l - (s32){k}", "0")}[op[2]]
        if args[3] != clamp:
            raise Unsupported(f"{'.'.join(op)} among fewer than {WARP} threads")
        ok = "from >= 0 && from < 32"
        moved = self._put(to, "b32", f"{ok} ? was[from] : was[l]") + (self._put(valid, "pred", ok) if valid else "")
        read = f"u32 was[32]; THREADS was[l] = {self._value(args[1], 'u32')};"
        return f"{read} THREADS {{ int from = {source}; {moved} }}"

    def _memory(self, op: list[str], args: list[str], quoted: str) -> str:
        space = next((p.split("::")[0] for p in op[1:] if re.match("global|shared|local|param", p)), "generic")
        count = int(next((p[1:] for p in op if re.fullmatch(r"v\d", p)), "1"))
        kind = op[-1].replace("b", "u").replace("f", "u")
        size, load = int(kind[1:]) // 8, op[0] == "ld"
        place, registers = (args[1], args[0]) if load else (args[0], args[1])
        base, _, offset = place.strip("[] ").partition("+")
        base = base.strip()
        registers = _operands(registers.strip("{} "))
        if space == "param":
            if self.is_kernel and (found := re.search(r"_param_(\d+)$", base)):
                if offset:
                    raise Unsupported(f"{place} in PTX: a part of a kernel's parameter")
                return self._put(registers[0], kind, f"params[{found[1]}]")
            if count > 1 or int(offset or 0) + size > _PASSED:
                raise Unsupported(f"{'.'.join(op)} {place} in PTX: beyond a parameter, or several at once")
            inside = f"{_c(base)}[l] + {int(offset or 0)}, "
            if load:
                return f"{kind} x; memcpy(&x, {inside}{size}); {self._put(registers[0], kind, 'x')}"
            return f"{kind} x = {self._value(registers[0], kind)}; memcpy({inside}&x, {size});"
        at = f"u64 p = {self._value(base, 'u32' if space in ('shared', 'local') else 'u64')} + {int(offset or 0)};"
        above = "local" if self.is_kernel else "above"
        rest = f"{size * count}, l, {quoted})"
        pointer, inside = {
            "global": ("(u8 *)p", f"within(p, {rest}"),
            "shared": ("shared + p", f"below(sizeof shared, p, {rest}"),
            "local": ("local[l] + p", f"below({_OWN}, p, {rest}"),
            "generic": (
                f"(p >= LOCAL ? {above}[l] + (p - LOCAL) : (u8 *)p)",
                f"(p >= LOCAL ? below({_OWN}, p - LOCAL, {rest} : within(p, {rest})",
            ),
        }[space]
        moves = ""
        for i, register in enumerate(registers):
            if load:
                moves += f"{kind} x{i}; memcpy(&x{i}, {pointer} + {i * size}, {size}); "
                moves += self._put(register, kind, f"x{i}")
            else:
                moves += f"{kind} x{i} = {self._value(register, kind)}; "
                moves += f"memcpy({pointer} + {i * size}, &x{i}, {size}); "
        return f"{at} if ({inside}) {{ {moves} }}"

    def _computed(self, op: list[str], args: list[str]) -> str:
        """What a thread computes by itself."""
        name, kind, to = op[0], op[-1], args[0]
        bits = 0 if kind == "pred" else int(re.sub(r"\D", "", kind))
        plain = kind if kind == "pred" else f"u{bits}"  # as a pattern of bits
        given = lambda as_kind: [self._value(a, as_kind) for a in args[1:]]  # noqa: E731
        if name == "mov" and "{" in to + args[1]:
            parts = _operands((to if "{" in to else args[1]).strip("{} "))
            width = bits // len(parts)
            if "{" in to:
                moved = (self._put(r, f"u{width}", f"all >> {width * i}") for i, r in enumerate(parts))
                return f"u64 all = {self._value(args[1], plain)}; " + " ".join(moved)
            joined = (f"(u64){self._value(r, f'u{width}')} << {width * i}" for i, r in enumerate(parts))
            return self._put(to, plain, " | ".join(joined))
        if name == "mov":
            return self._put(to, plain, given(plain)[0])
        if name == "cvta":
            return self._put(to, "u64", f"{given('u64')[0]} + LOCAL")
        if name == "cvt":
            target, x = op[-2], given(kind)[0]
            to_whole = {"rzi": "trunc", "rni": "nearbyint", "rmi": "floor", "rpi": "ceil"}.get(op[1])
            if to_whole is not None:
                x = f"{to_whole}({x})"
            if kind[0] == "f" and target[0] != "f":
                if target != "s32" or to_whole is None:
                    raise Unsupported(f"{'.'.join(op)} in PTX")
                x = f"whole({x}, {'0' if kind == 'f32' else 'INT32_MIN'})"
            return self._put(to, target, f"({target}){x}")
        if name == "setp":
            x, y = given(kind)
            unordered = kind[0] == "f" and op[1][-1] == "u"
            found = f"{x} {_COMPARED[op[1][:-1] if unordered else op[1]]} {y}"
            if unordered:
                found = f"{x} != {x} || {y} != {y} || {found}"
            elif kind[0] == "f" and op[1] == "ne":
                found = f"{x} == {x} && {y} == {y} && {found}"
            return self._put(to, "pred", found)
        if name == "selp":
            x, y, _ = given(plain)
            return self._put(to, plain, f"{self._value(args[3], 'pred')} ? {x} : {y}")
        if op == ["not", "pred"]:
            return self._put(to, plain, f"!{given(plain)[0]}")
        if name in _BITS:
            return self._put(to, plain, _BITS[name].format(*given(plain)))
        if name in ("shl", "shr"):
            signed = kind if kind[0] == "s" else plain
            x, by = self._value(args[1], signed), self._value(args[2], "u32")
            beyond = f"{x} >> {bits - 1}" if kind[0] == "s" else "0"
            return self._put(to, signed, f"{by} >= {bits} ? {beyond} : {x} {'<<' if name == 'shl' else '>>'} {by}")
        if name == "shf" and op[1:3] == ["l", "wrap"]:
            low, high, by = given("u32")
            return self._put(to, "u32", f"((u64){high} << 32 | {low}) << ({by} & 31) >> 32")
        if name == "prmt":
            return self._put(to, "u32", f"prmt({', '.join(given('u32'))})")
        if name == "bfe":
            x, start, length = self._value(args[1], kind), *(f"{self._value(a, 'u32')} & 255" for a in args[2:])
            return self._put(to, kind, f"bfe_{kind}({x}, {start}, {length})")
        if name == "clz":
            x = given(plain)[0]
            return self._put(to, "u32", f"{x} ? __builtin_clzll({x}) - {64 - bits} : {bits}")
        if name in ("mul", "mad", "madc") and kind[0] != "f":
            return self._product(op, args, bits)
        if "cc" in op or name in ("addc", "subc"):
            x, y = given(plain)
            sign = "-" if name[:3] == "sub" else "+"
            return self._carried(op, to, f"(u128){x} {sign} {y}" + f" {sign} carry[l]" * name.endswith("c"), bits)
        template = (_FLOAT if kind[0] == "f" else _WHOLE).get(name)
        if template is None:
            raise Unsupported(f"{'.'.join(op)} in PTX")
        return self._put(to, kind, template.format(*given(kind), f="f" * (kind == "f32")))

    def _product(self, op: list[str], args: list[str], bits: int) -> str:
        """mul, mad and madc of whole numbers: .lo, .hi or .wide."""
        name, how, kind = op[0], op[1], op[-1].replace("b", "u")
        x, y = (f"({kind[0]}128){self._value(a, kind)}" for a in args[1:3])
        wide = f"u{2 * bits if how == 'wide' else bits}"
        product = f"({wide})(({x} * {y}) >> {bits if how == 'hi' else 0})"
        if name == "mul":
            return self._put(args[0], wide, product)
        total = f"(u128){product} + {self._value(args[3], wide)}" + " + carry[l]" * (name == "madc")
        return self._carried(op, args[0], total, int(wide[1:]))

    def _carried(self, op: list[str], to: str, total: str, bits: int) -> str:
        """A sum, and its carry where the instruction keeps it."""
        keep = f" carry[l] = total >> {bits} & 1;" if "cc" in op else ""
        return f"u128 total = {total}; {self._put(to, f'u{bits}', 'total')}{keep}"


class Program:
    """A compiled kernel that can be launched."""

    def __init__(self, ptx: str) -> None:
        text = re.sub(r"//[^\n]*|\.(?:loc|file|pragma)\s[^\n]*", "", ptx).split(".section")[0]
        constants = dict(re.findall(r"\.global \.align \d+ \.b8 (\S+)\[\d+\] = \{([^}]*)\};", text))
        kernel = re.search(r"\.entry (\w+)\([^)]*\)\s*\.reqntid (\d+)", text)
        self.name = kernel[1]
        if int(kernel[2]) != WARP:
            raise Unsupported(f"{self.name} has blocks of {kernel[2]} threads: launch it with num_warps=1")
        functions = []
        for found in re.finditer(r"\.func\s+\((\.param [^)]*)\) (\w+)\s*\(([^)]*)\)\s*\{", text):
            parameters = _passed(found[1] + found[3])
            functions.append(_Function(found[2], _body(text, found.end()), set(constants), parameters))
        functions.append(_Function(self.name, _body(text, text.index("{", kernel.end()) + 1), set(constants), []))
        self.blocks = [Counter(_opcode(s) for s in block) for function in functions for block in function.blocks]
        first, parts = 0, [_PRELUDE.replace("BLOCKS", str(len(self.blocks)))]
        parts += [f"static const u8 {_c(n)}[] __attribute__((aligned(16))) = {{{v}}};" for n, v in constants.items()]
        for function in functions:
            parts.append(function.source(first))
            first += len(function.blocks)
        known = "".join(f"spans[n_spans++] = (Span){{(u64){c}, (u64){c} + sizeof {c}}};" for c in map(_c, constants))
        parts.append(_LAUNCH.replace("CONSTANTS", known).replace("KERNEL", self.name))
        self.library = _built("\n".join(parts))
        self.library.launch.restype = ctypes.c_char_p
        self.library.executed.restype = ctypes.POINTER(ctypes.c_uint64)

    def __call__(self, grid: tuple[int, int, int], arguments: list[torch.Tensor | int]) -> None:
        """Run every block of a grid.

        Raises:
            RuntimeError: an access outside of the tensors, a misaligned one, threads that don't meet.
        """
        params, spans = [], []
        for argument in arguments:
            if isinstance(argument, torch.Tensor):
                params.append(argument.data_ptr())
                storage = argument.untyped_storage()
                spans += [storage.data_ptr(), storage.data_ptr() + storage.nbytes()]
            elif isinstance(argument, float):
                raise Unsupported(f"{self.name} with the number {argument}: give whole numbers and tensors")
            else:
                params.append(argument & 2**64 - 1)
        params += [0, 0]  # Triton's scratch memory
        arrays = ((ctypes.c_uint64 * len(a))(*a) for a in (params, spans))
        failed = self.library.launch(*map(ctypes.c_uint32, grid), *arrays, len(spans) // 2)
        if failed:
            raise RuntimeError(f"{self.name}: {failed.decode()}")

    def executed(self) -> Counter[str]:
        """How many instructions of each kind warps have executed so far."""
        total: Counter[str] = Counter()
        for times, block in zip(self.library.executed()[: len(self.blocks)], self.blocks, strict=True):
            total += Counter({name: times * count for name, count in block.items()})
        return total


class Driver(DriverBase):  # type: ignore[misc]
    """What Triton asks of a GPU, with :class:`Program` in its place."""

    def __init__(self, capability: int) -> None:
        self.target, self.utils = GPUTarget("cuda", capability, WARP), self
        self.programs: dict[str, Program] = {}  # by PTX: some arguments make no difference

    def executed(self, name: str) -> int:
        """How many instructions warps have executed of all the kernels with this name."""
        return sum(program.executed().total() for program in self.programs.values() if program.name == name)

    def loading(self, module: object, function: object, name: str, files: dict[str, str], key: str) -> None:
        """Triton's hook before it loads a kernel: remember its PTX."""
        self.ptx = next(Path(path) for name, path in files.items() if name.endswith(".ptx"))

    def load_binary(self, name: str, binary: bytes, shared: int, device: int) -> tuple[object, Program, int, int, int]:
        """Module, function, registers, spills, threads."""
        ptx = self.ptx.read_text(encoding="utf-8")
        if ptx not in self.programs:
            self.programs[ptx] = Program(ptx)
        return self, self.programs[ptx], 0, 0, 1024

    def launcher_cls(self, source: object, metadata: object):
        """How a kernel is launched."""
        kinds = list(source.signature.values())

        def launch(x, y, z, stream, program, packed, metadata, enter, leave, *arguments):
            program((x, y, z), [a for a, kind in zip(arguments, kinds, strict=True) if kind != "constexpr"])

        return launch

    def get_current_target(self) -> GPUTarget:
        """Which GPU to compile for."""
        return self.target

    def get_device_properties(self, device: int) -> dict[str, int]:
        """Shared memory of a block, bytes."""
        return {"max_shared_mem": 232_448}

    def get_current_device(self) -> int:
        """The only one."""
        return 0

    def get_current_stream(self, device: int) -> int:
        """There are none."""
        return 0

    def get_active_torch_device(self) -> torch.device:
        """Where tensors are."""
        return torch.device("cpu")

    def unload_module(self, module: object) -> None:
        """Kept until the process ends."""

    def map_python_to_cpp_type(self, name: str) -> str:
        """Triton asks for it only where it writes a launcher in C."""
        raise Unsupported(f"a launcher in C, for {name}")

    def get_benchmarker(self) -> object:
        """Triton asks for it only to tune by time, which means nothing here."""
        raise Unsupported("tuning by time")

    @classmethod
    def is_active(cls) -> bool:
        """Whether it can be used."""
        return True


def use(capability: int = 90) -> Driver:
    """Have Triton compile for a GPU of a compute capability (90: H100, H200), and run the kernels here."""
    driver = Driver(capability)
    triton.knobs.runtime.kernel_load_start_hook = driver.loading
    triton.runtime.driver.set_active(driver)
    return driver


def _opcode(statement: str) -> str:
    return re.sub(r"^@\S+ ", "", statement).split()[0]


def _type(kind: str) -> str:
    """The C type of a PTX type's bits."""
    return "pred" if kind == "pred" else ("s" if kind[0] == "s" else "u") + kind[1:]


def _c(name: str) -> str:
    """A PTX name as one of C."""
    return re.sub(r"\W", "_", name.replace("%", "r_"))


def _passed(text: str) -> list[str]:
    """The names of the parameters and results that a text declares."""
    found = re.findall(r"\.param (?:\.align \d+ )?\.[a-z](\d+) (\w+)(?:\[(\d+)\])?", text)
    for bits, name, times in found:
        if int(bits) // 8 * int(times or 1) > _PASSED:
            raise Unsupported(f"{name} in PTX, with more than {_PASSED} bytes: raise _PASSED")
    return [name for _, name, _ in found]


def _body(text: str, start: int) -> str:
    """From there to where the brace closes."""
    depth = 1
    for end in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if not depth:
            return text[start:end]
    raise ValueError("a function in PTX has no end")


def _statements(text: str) -> Iterator[str]:
    """Statements without their semicolon, labels with their colon, braces of scopes; those around operands stay."""
    now, depth = "", 0
    for piece in re.findall(r"[^;{}\n]+|[;{}\n]", text):
        if piece == "{" and now.strip():
            depth += 1
        elif piece == "}" and depth:
            depth -= 1
        elif piece in "{}":
            yield piece
            continue
        elif piece == ";" or (piece == "\n" and re.fullmatch(r"\s*\S+:\s*", now)):
            if now.strip():
                yield " ".join(now.split())
            now = ""
            continue
        now += piece


def _operands(text: str) -> list[str]:
    """Split at commas outside of braces, brackets and parentheses."""
    found = re.findall(r"(?:\{[^}]*\}|\[[^\]]*\]|\([^)]*\)|[^,{\[(])+", text)
    return [" ".join(one.split()) for one in found if one.strip()]


def _built(source: str) -> ctypes.CDLL:
    """Compile and load C; what was compiled before is kept, in Triton's cache."""
    folder = Path(triton.knobs.cache.dir) / f"ptx-{hashlib.sha256(source.encode()).hexdigest()[:32]}"
    library = folder / "kernel.so"
    if not library.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as new:
            path = Path(new) / "kernel.c"
            path.write_text(source, encoding="utf-8")
            # without optimisation: it takes a quarter of the time, and no operation is joined with another
            options = ["-std=gnu11", "-O0", "-ffp-contract=off", "-fno-strict-aliasing", "-w", "-shared", "-fPIC"]
            subprocess.run(["cc", *options, "-o", path.with_suffix(".so"), path, "-lm"], check=True)
            path.with_suffix(".so").rename(library)
    return ctypes.CDLL(str(library))
