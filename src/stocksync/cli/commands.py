"""What can be typed. Declares the verbs; each is carried out by its own module, loaded only then."""

from collections.abc import Callable
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from stocksync import __version__
from stocksync.cli import outcome
from stocksync.cli.output import print_line
from stocksync.domain.status import Job

app = typer.Typer(
    help="同步 A 股股票基础信息，并随时准确说明同步的状态。",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # its tracebacks show local variables, and errors are outcome.guarded's
    context_settings={"help_option_names": ["-h", "--help"]},
)

_PORTS: Final = 65535


class Mode(StrEnum):
    """How sources are asked."""

    MULTI = "multi"
    SINGLE = "single"


class Pace(StrEnum):
    """How quickly the simulator answers."""

    FAST = "fast"
    REALISTIC = "realistic"


Store = Annotated[str | None, typer.Option(help="数据库地址，优先于 STOCKSYNC_STORE。", metavar="URL")]
Server = Annotated[
    str | None,
    typer.Option(
        help="通过服务器而不是数据库，优先于 STOCKSYNC_SERVER；不能与 --store 同时使用。", metavar="URL"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="向标准输出打印 JSON。")]


def _carry_out(target: str, **options: object) -> NoReturn:
    """Load "module:function", call it, and exit with the code that it returns."""
    raise typer.Exit(outcome.guarded(lambda: _load(target)(**options)))


def _load(target: str) -> Callable[..., int]:
    module, _, name = target.partition(":")
    function: Callable[..., int] = getattr(import_module(f"stocksync.cli.{module}"), name)
    return function


def _print_version(*, wanted: bool) -> None:
    if wanted:
        print_line(f"stocksync {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="显示版本。", is_eager=True, callback=lambda value: _print_version(wanted=value)
        ),
    ] = False,
) -> None:
    """The options before the verb."""


@app.command(help="运行一次同步，等到结束。", epilog=outcome.HELP)
def sync(
    *,
    force: Annotated[bool, typer.Option("--force", help="取代正在运行的同步任务。")] = False,
    sources: Annotated[str, typer.Option(help="本次优先的数据源，逗号分隔。", metavar="A,B")] = "",
    mode: Annotated[
        Mode, typer.Option(help="multi 按优先级自动切换，single 只用第一个数据源。")
    ] = Mode.MULTI,
    as_json: Json = False,
    store: Store = None,
    server: Server = None,
) -> None:
    """A run in this process."""
    job = Job.MULTI if mode is Mode.MULTI else Job.SINGLE
    _carry_out(
        "sync:sync", force=force, sources=sources, job=job, as_json=as_json, store=store, server=server
    )


@app.command(help="显示同步的状态。")
def status(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="持续显示每次变化，直到 Ctrl-C。")] = False,
    job: Annotated[
        Job | None,
        typer.Option(help="任务 stock_basics_multi_source 或 stock_basics ，默认较新的一个。", metavar="JOB"),
    ] = None,
    as_json: Json = False,
    store: Store = None,
    server: Server = None,
) -> None:
    """How a sync stands."""
    _carry_out("status:status", watch=watch, as_json=as_json, job=job, store=store, server=server)


@app.command(help="列出运行过的同步，新的在前。")
def history(
    *,
    limit: Annotated[int, typer.Option(help="最多显示几次。", min=1, max=10_000)] = 20,
    as_json: Json = False,
    store: Store = None,
    server: Server = None,
) -> None:
    """The runs that were."""
    _carry_out("history:history", limit=limit, as_json=as_json, store=store, server=server)


@app.command(help="列出启用的数据源，按优先级。")
def sources(
    *,
    test: Annotated[
        bool, typer.Option("--test", help="对每个数据源真实调用一次；都不可用时退出码为 1。")
    ] = False,
    as_json: Json = False,
    store: Store = None,
    server: Server = None,
) -> None:
    """The upstreams."""
    _carry_out("sources:sources", test=test, as_json=as_json, store=store, server=server)


@app.command(help="显示生效的配置，密钥除外。")
def config(*, as_json: Json = False) -> None:
    """The settings in force."""
    _carry_out("config:config", as_json=as_json)


@app.command(help="请求结束正在运行的同步，无论它在哪个进程。")
def cancel(*, store: Store = None, server: Server = None) -> None:
    """The end of the run that goes on."""
    _carry_out("cancel:cancel", store=store, server=server)


@app.command(help="检查数据库，什么都不改动；有阻碍同步的问题时退出码为 1。")
def doctor(*, as_json: Json = False, store: Store = None) -> None:
    """A look at a database, before the first write."""
    _carry_out("doctor:doctor", as_json=as_json, store=store)


@app.command(help="修复 doctor 找到的问题；不加 --apply 只显示会做什么。")
def repair(
    *,
    apply: Annotated[bool, typer.Option("--apply", help="执行修复。")] = False,
    units: Annotated[
        bool, typer.Option("--units", help="也换算单位错误的指标；这是一种判断，请先核对 doctor 的说明。")
    ] = False,
    as_json: Json = False,
    store: Store = None,
) -> None:
    """The repair of what the look found."""
    _carry_out("doctor:repair", apply=apply, units=units, as_json=as_json, store=store)


@app.command(help="启动接口与网页。")
def serve(
    *,
    host: Annotated[str, typer.Option(help="监听地址。")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="监听端口。", min=1, max=_PORTS)] = 8000,
    workers: Annotated[int, typer.Option(help="工作进程数。", min=1)] = 1,
    store: Store = None,
    allow_open: Annotated[
        bool, typer.Option("--allow-open", help="允许监听本机以外的地址（没有密码）。")
    ] = False,
) -> None:
    """The API and the page."""
    _carry_out("serve:serve", host=host, port=port, workers=workers, store=store, allow_open=allow_open)


@app.command(help="启动演示：模拟的数据源、临时的数据库。")
def demo(*, port: Annotated[int, typer.Option(help="监听端口。", min=1, max=_PORTS)] = 8000) -> None:
    """Everything, on made-up data."""
    _carry_out("demo:demo", port=port)


@app.command(help="在本机模拟数据源，直到 Ctrl-C；打印指向它的环境变量。")
def simulate(
    *,
    port: Annotated[int, typer.Option(help="监听端口；0 为任选。", min=0, max=_PORTS)] = 0,
    seed: Annotated[int, typer.Option(help="虚构市场的种子。")] = 1,
    replay: Annotated[
        Path | None,
        typer.Option(help="回放真实市场数据的目录。", metavar="DIR", exists=True, file_okay=False),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(help="故障，可多次给出，如 tushare.daily_basic=http502:2。", metavar="CALL=KIND"),
    ] = None,
    pace: Annotated[Pace, typer.Option(help="应答的快慢。")] = Pace.FAST,
) -> None:
    """Replicas of the upstreams."""
    _carry_out(
        "simulate:simulate", port=port, seed=seed, replay=replay, faults=tuple(fault or ()), pace=pace.value
    )
