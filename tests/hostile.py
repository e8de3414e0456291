"""Hypothesis strategies for hostile command lines and YAML files, built from the real names."""

import os
from dataclasses import dataclass, field, fields
from pathlib import Path

import yaml
from hypothesis import strategies as st

from runner.cli.sources import CONF
from runner.config.sections import CheckpointSettings, General, Training, WrapperSettings
from runner.config.signature import parameters
from runner.registry import GROUPS

OPTIONS = {group: sorted(path.stem for path in (CONF / group).iterdir()) for group in GROUPS}
FOLDER = "conf"  # of the files, in the current folder


def _words(text: str) -> list[str]:
    return text.split()


def _setting_keys() -> dict[str, list[str]]:
    """Section → its keys, from the dataclasses and the signatures of all factories."""
    sections = {"": General, "training": Training, "checkpoint": CheckpointSettings}
    keys = {name: [f.name for f in fields(kind)] for name, kind in sections.items()}
    keys["optimizer"] = [f.name for f in fields(WrapperSettings)]
    for group, registry in GROUPS.items():
        named = (parameters(registry.get(name)) for name in registry.names())
        own = {key for signature in named for key in signature} - registry.supplied
        keys[group] = sorted({"name", *keys.get(group, []), *own})
    return keys


def _keys_of_option(group: str, option: str) -> list[str]:
    """The keys of the factory that an option's file, or the one it builds on, names."""
    settings = yaml.safe_load((CONF / group / f"{option}.yaml").read_text(encoding="utf-8"))
    if "name" not in settings:
        return _keys_of_option(group, settings["defaults"][0])
    return sorted(set(parameters(GROUPS[group].get(settings["name"]))) - GROUPS[group].supplied)


KEYS = _setting_keys()
ALL_KEYS = [f"{section}.{key}".lstrip(".") for section, names in KEYS.items() for key in names]
# Keys of Hydra's that neither import a module nor name a folder outside of the current one.
HYDRA_KEYS = [
    "hydra",
    *_words("hydra.mode hydra.verbose hydra.output_subdir hydra.searchpath hydra.callbacks"),
    *_words("hydra.run.dir hydra.sweep.dir hydra.sweep.subdir hydra.sweeper.params"),
    *_words("hydra.job hydra.job.name hydra.job.num hydra.job.id hydra.job.chdir"),
    *_words("hydra.job.env_set hydra.job.env_copy hydra.job.config.override_dirname.kv_sep"),
    *_words("hydra.runtime.choices.scheduler hydra.runtime.output_dir hydra.overrides.task"),
    *_words("hydra/launcher hydra/sweeper hydra/job_logging hydra/help hydra/output"),
]

NUMBERS = [
    *_words("0 -0 1 -1 2 64 880 1e3 1e-3 1e-320 1e308 1e400 -1e400 .5 5. 1_000 0x1F 0b11 0o17"),
    *_words("010 12:30 2147483647 2147483648 4294967296 9223372036854775808 1e38 3.5e38"),
    *_words("nan inf -inf .nan .inf -.inf 16777217 0.1 0.999999999 ١٢٣ ½ 1,5 1+1j"),
    "9" * 400,
    "9" * 5000,
    "0." + "0" * 400 + "1",
]
LENGTHS = [
    *_words("4ep 25% 0ep -1ep 1e400ep nanep infep 0% 100% 101% 1e308% ep % 0x1ep 4eps 4 ep"),
    *_words("9223372036854775807ep 0.0000001% 1e-300ep ٤ep 25%% 4ep%"),
]
WORDS = [
    *_words("null none ~ true false yes no on off auto default head body x pi"),
    *_words("triangular2 cos linear exp_range iterations cycle valid same relu gelu"),
    *_words("? ??? * & ! | > @ ` % # {} [] '' \\ \\' ' \" , = : - --help -m ~x +x $"),
    *("é", "日本語", "\u202e", "\ufeff", "\0", "\ud83d\ude00", "\u2028", "\x1b[2J", "\x07"),
    *("\r", "\n", "\t"),
    "\udce9",  # a byte of an argument that is not UTF-8
    "a" * 300,
    "é" * 9000,
    "a/" * 3000,
    "../" * 50 + "etc/passwd",
    "/dev/zero",
    "CON",
    "s3://bucket/file",
    "file:///dev/null",
    "run@-1",
    "run@99999999999999999999",
    "@",
]
EXPRESSIONS = [
    *_words("1/x x**2 x**999 9**9**9 1/0 x/0 sin(x) sin() min(x) clip(x,0,1) x<1<2 x.real"),
    *_words(
        "__import__('os') lambda:0 [x] x[0] x:=1 f'{x}' ()() 0**x log(-x) -x**.5 1if(x)else(2)"
    ),
    "-" * 499 + "x",
    "(" * 249 + "x" + ")" * 249,
    "+".join("x" * 200),
]
INTERPOLATIONS = [
    *_words("${seed} ${training.steps} ${.base_lr} ${..seed} ${scheduler} ${nope} ${ ${ $${seed}"),
    *_words("${oc.env:HOME} ${oc.env:NOPE} ${oc.env:NOPE,1} ${oc.env:} ${oc.decode:1} ${now:%Y}"),
    *_words("${oc.decode:${oc.env:HOME}} ${oc.decode:'[1,2]'} ${oc.decode:'{a:1}'} ${oc.decode:}"),
    *_words(
        "${hydra:} ${hydra:runtime.cwd} ${hydra:job.num} ${hydra:nope} ${now:} ${now:%} ${x:y}"
    ),
    *_words(
        "${oc.create:{a:1}} ${oc.select:seed} ${oc.dict.keys:training} ${${seed}} ${seed}${seed}"
    ),
    *_words("${scheduler.max_lr} ${scheduler.base_lr} ${} ${.} ${..} ${...........seed} ${[0]}"),
    *_words("${training} ${hydra.sweep} ${optimizer.groups} ${a:b:c} ${\u00e9} ${seed ${}"),
]
SWEEPS = [
    *_words("1,2 range(3) range(1,10,0) range(0,1e9) choice(1,2) choice({a:1},[1]) interval(0,1)"),
    *_words("tag(a,interval(0,1)) shuffle(1,2) sort(3,2,1) glob(*) glob(c*,exclude=*) int(1.5)"),
    *_words("float(a) bool(x) str([1,2]) json_str({a:1}) extend_list(1) int(range(2)) cast()"),
]
_DEEP = ["[" * depth + "]" * depth for depth in (2, 40, 300, 2000)]
_DEEP += ["{a:" * depth + "1" + "}" * depth for depth in (2, 40, 300, 1500)]

scalars = st.one_of(
    *map(st.sampled_from, (NUMBERS, LENGTHS, WORDS, EXPRESSIONS, INTERPOLATIONS)),
    st.floats().map(repr),
    st.integers(-(2**70), 2**70).map(str),
    st.text(max_size=30),
)
names = st.one_of(st.sampled_from(WORDS + [k for keys in KEYS.values() for k in keys]), st.text())


def _containers(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.tuples(names, children).map(":".join)
    lists = st.lists(children, max_size=4).map(lambda items: f"[{','.join(items)}]")
    return lists | st.lists(pairs, max_size=3).map(lambda items: "{" + ",".join(items) + "}")


quoted = st.builds("{0}{1}{0}".format, st.sampled_from("'\""), scalars)
plausible = st.one_of(
    st.sampled_from(_words("0 1 2 5 0.1 0.5 0.9 1e-3 10 64 4ep 25% null true false auto")),
    st.sampled_from(_words("[] [1] [0.1,0.2] [8,8] {body:0.1} {head:.*} 1/x triangular cos")),
    st.floats(0, 2).map(repr),
    st.integers(0, 1000).map(str),
)
values = plausible | st.recursive(
    scalars | quoted | st.sampled_from(SWEEPS) | st.sampled_from(_DEEP), _containers, max_leaves=6
)


@st.composite
def keys(draw: st.DrawFn) -> str:
    """A real key, mostly; or one that is misspelt, too deep, of Hydra's or of a package."""
    key = draw(st.sampled_from(ALL_KEYS))
    match draw(st.integers(0, 11)):
        case 0:
            return draw(st.sampled_from(HYDRA_KEYS))
        case 1:
            return f"{key}.{draw(names)}"
        case 2:
            return draw(names)
        case 3:
            group = draw(st.sampled_from(sorted(GROUPS)))
            return f"{group}@{draw(st.sampled_from([*ALL_KEYS, '_global_', '_here_', ':', '']))}"
        case 4:
            at = draw(st.integers(0, len(key)))
            return key[:at] + draw(st.text(max_size=2)) + key[at + draw(st.integers(0, 1)) :]
    return key


@st.composite
def overrides(draw: st.DrawFn) -> str:
    """One override: an option of a group, or a value for a key."""
    prefix = draw(st.sampled_from([*[""] * 12, "+", "++", "~"]))
    if draw(st.integers(0, 5)) == 0:
        group = draw(st.sampled_from(sorted(GROUPS)))
        option = draw(st.sampled_from([*OPTIONS[group], "mine"]) | values)
        return f"{prefix}{group}={option}"
    separator = draw(st.sampled_from([*["="] * 15, "", "==", ":", " = "]))
    return f"{prefix}{draw(keys())}{separator}{draw(values)}"


@st.composite
def valid_keys(draw: st.DrawFn) -> list[str]:
    """An option of a group and values for settings that it has; mostly valid."""
    group = draw(st.sampled_from(sorted(GROUPS)))
    option = draw(st.sampled_from(OPTIONS[group]))
    own = st.sampled_from(_keys_of_option(group, option) or ["name"])
    found = draw(st.dictionaries(own, values, max_size=3))
    return [f"{group}={option}", *(f"{group}.{key}={value}" for key, value in found.items())]


_FILE_TEXTS = [
    *(b"", b"\n", b"#", b"---", b"--- 1\n--- 2\n", b"\xff\xfe\x00", b"\xef\xbb\xbfseed: 1\n"),
    *(b"\x00", b"[", b"{", b"- 1\n- 2\n", b"1", b"null", b"\tseed: 1", b"seed: 1\nseed: 2\n"),
    *(b"a: &a [*a]\n", b"a: &a {b: *a}\n", b"<<: 1\n", b"<<: {seed: 1}\n", b"<<: [{a: 1}, 2]\n"),
    *(b"? [1]\n: 2\n", b"? {a: 1}\n: 2\n", b"1: 2\n", b"null: 1\n", b"true: 1\n", b"1.5: 2\n"),
    *(b"2020-01-01: 1\n", b"seed: 2020-01-01\n", b"seed: 2020-13-45\n", b"seed: !!binary a\n"),
    *(b"seed: !!int x\n", b"seed: !!float x\n", b"seed: !!timestamp x\n", b"seed: !!set {a}\n"),
    *(b"seed: !!omap [a: 1]\n", b"seed: !!bool maybe\n", b"seed: !!null x\n", b"seed: !x 1\n"),
    *(b"!!python/object/apply:os.system ['x']\n", b"%YAML 9.9\n---\na: 1\n", b"%TAG ! x\n---\n"),
    *(b"a: |\n  x\n y\n", b'a: "\\xZZ"\n', b'a: "\\uD800"\n', b"a: 'x\n", b"a: *b\n", b"a: b: c\n"),
    b"seed: " + b"[" * 3000 + b"]" * 3000,
    b"".join(b" " * n + b"a:\n" for n in range(150)),
    b"a: &a [" + b"1," * 50 + b"]\n" + b"b: [" + b"*a," * 400 + b"]\n",
    b"seed: " + b"9" * 5000 + b"\n",
    b"# " + b"x" * 40_000 + b"\n",
    *(b"# @package _global_\nhydra: 1\n", b"# @package hydra\nrun: {dir: x}\n", b"# @package\n"),
    *(b"# @package _group_._name_\na: 1\n", b"# @package a b\na: 1\n", b"# @package ..\na: 1\n"),
]
_DEFAULTS = [
    *("triangular", "mine", "sgd", "nope", "_self_", "/config", "../x", "/hydra/help: runner"),
    *(None, 1, 1.5, True, "", "@", ":", "a: b", ["x"], {}, {"scheduler": "mine"}, {"a": ["b"]}),
    *({"scheduler": None}, {"scheduler": {"a": 1}}, {"override scheduler": "cosine"}, {1: 2}),
    *({"optional scheduler": "nope"}, {"override /hydra/launcher": "basic"}, {"overide a": "b"}),
    *({"scheduler@x.y": "cosine"}, {"/scheduler@_global_": "cosine"}, {"a": "${seed}"}, "x@y"),
    *({"scheduler": "${hydra:job.num}"}, {"scheduler@": "cosine"}, {"": ""}, {"a": "b", "c": "d"}),
]
yaml_scalars = st.one_of(
    plausible.map(yaml.safe_load),
    scalars,
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.dates(),
    st.binary(max_size=9),
)
yaml_values = st.recursive(
    yaml_scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(names | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


@st.composite
def yaml_files(draw: st.DrawFn, section: str) -> bytes:
    """A settings file for ``section`` (empty: all sections), often damaged."""
    if draw(st.integers(0, 3)) == 0:
        return draw(st.sampled_from(_FILE_TEXTS) | st.binary(max_size=40))
    own = KEYS.get(section, [])
    settings = draw(st.dictionaries(st.sampled_from(own or ["a"]) | names, yaml_values, max_size=4))
    if not section:
        for name in draw(st.lists(st.sampled_from([*KEYS, "hydra"]), max_size=3)):
            inner = st.sampled_from(KEYS.get(name, ["run", "sweep", "job", "sweeper"]))
            settings[name] = draw(st.dictionaries(inner, yaml_values, max_size=3) | yaml_values)
    if draw(st.booleans()):
        entries = st.lists(st.sampled_from(_DEFAULTS), max_size=4)
        settings = {"defaults": draw(entries | yaml_values)} | settings
    header = draw(st.sampled_from(["", "", "# @package _global_\n", "# @package scheduler\n"]))
    try:
        text = header + yaml.safe_dump(settings, sort_keys=False, allow_unicode=draw(st.booleans()))
    except yaml.YAMLError:
        text = header + repr(settings)
    content = text.encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 2)) == 0:
        at, removed = draw(st.integers(0, len(content))), draw(st.integers(0, 3))
        content = content[:at] + draw(st.binary(max_size=3)) + content[at + removed :]
    return content


@dataclass(frozen=True)
class CommandLine:
    """Arguments, and the files that must exist in the current folder: path → content."""

    args: tuple[str, ...]
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def is_passable(self) -> bool:
        """Whether a process can be started with the arguments."""
        try:
            return not any(b"\0" in os.fsencode(argument) for argument in self.args)
        except UnicodeEncodeError:
            return False

    def write_files(self, folder: Path) -> None:
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def _typed(draw: st.DrawFn, *, at_least: int = 0) -> list[str]:
    if draw(st.booleans()):
        return draw(valid_keys()) + draw(st.lists(overrides(), max_size=1))
    return draw(st.lists(overrides(), min_size=at_least, max_size=3))


@st.composite
def command_lines(draw: st.DrawFn) -> CommandLine:
    """Overrides alone; or with files: an option, a primary configuration, or a saved run."""
    kind = draw(st.sampled_from(["overrides", "option", "shadow", "primary", "global", "saved"]))
    if kind == "overrides":
        return CommandLine(tuple(_typed(draw, at_least=1)))
    folder = ["--config-dir", FOLDER]
    if kind in ("option", "shadow"):
        group = draw(st.sampled_from(sorted(GROUPS)))
        option = "mine" if kind == "option" else draw(st.sampled_from(OPTIONS[group]))
        files = {f"{FOLDER}/{group}/{option}.yaml": draw(yaml_files(group))}
        return CommandLine((*folder, f"{group}={option}", *_typed(draw)), files)
    content = draw(yaml_files(""))
    if kind == "primary":
        files = {f"{FOLDER}/own.yaml": content}
        return CommandLine((*folder, "--config-name", "own", *_typed(draw)), files)
    if kind == "global":
        files = {f"{FOLDER}/extra/own.yaml": b"# @package _global_\n" + content}
        return CommandLine((*folder, "+extra=own", *_typed(draw)), files)
    files = {"run/.hydra/config.yaml": content}
    for name in ("overrides", "hydra"):
        if draw(st.booleans()):
            files[f"run/.hydra/{name}.yaml"] = draw(yaml_files(""))
    key = draw(st.sampled_from(["resume", "init_from"]))
    step = draw(st.sampled_from(["", "", "@1", "@", "@x"])) if key == "init_from" else ""
    return CommandLine((f"{key}=run{step}", *_typed(draw)), files)
