"""``newsletter templates``."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from newsletter.audience.lists import all_lists, find_list
from newsletter.cli.output import print_json, say, sign
from newsletter.cli.preview import MODES, in_mode, preview_app, seen
from newsletter.cli.shared import House, Json, ListSlug, OfList, chosen_list, opened
from newsletter.database import reading
from newsletter.errors import InputError
from newsletter.languages import check_languages
from newsletter.mail.auditing import blemishes
from newsletter.mail.faults import Fault, breaks
from newsletter.mail.look import PLAIN, Look
from newsletter.mail.overriding import look_of, own_folder
from newsletter.mail.templates import FILES, KINDS, shipped_source

app = typer.Typer(
    name="templates", help="What mails look like, and what a list has changed of it.", no_args_is_help=True
)


def faults_of(look: Look, folder: Path | None = None) -> list[Fault]:
    """All that is wrong with a look, each once; ``folder``: where the list has its files."""
    found: dict[Fault, None] = {}
    for kind in KINDS:
        broken = breaks(kind, look)
        found |= dict.fromkeys(broken or blemishes(kind, look))
    if folder is not None and folder.is_dir():
        for file in sorted(folder.rglob("*")):
            name = file.relative_to(folder).as_posix()
            if file.is_file() and name not in FILES:
                found[Fault(name, 0, "No mail is made of it.", f"Files are called {', '.join(FILES[:5])} …", True)] = (
                    None
                )
    return list(found)


@app.command()
def check(
    slug: OfList = None,
    as_json: Json = False,
) -> None:
    """Say what is wrong with templates: Jinja, variables, styles that mail clients ignore, contrast, size.

    Without --list: the shipped ones and those of every list. Exit code 1 if there is an error; warnings alone give 0.

    Example: `newsletter templates check --list rutas`
    """
    house = opened()
    with reading(house.engine) as connection:
        rows = [find_list(connection, slug)] if slug else all_lists(connection)
    looks: list[tuple[str, Look, Path | None]] = [] if slug else [("", PLAIN, None)]
    looks += [(row.slug, look_of(house.settings, row), own_folder(house.settings.home, row.slug)) for row in rows]
    found = [(name, fault) for name, look, folder in looks for fault in faults_of(look, folder)]
    errors = sum(not fault.warning for _, fault in found)
    if as_json:
        print_json(
            {"faults": [{"list": name} | asdict(one) for name, one in found], "errors": errors,
             "own": {name: sorted(look.own) for name, look, _ in looks if name}}
        )  # fmt: skip
    else:
        for name, look, _ in looks:
            _tell(name, look, [fault for about, fault in found if about == name])
    if errors:
        raise typer.Exit(1)


def _tell(name: str, look: Look, found: list[Fault]) -> None:
    own = f", with {len(look.files)} file{'s' * (len(look.files) > 1)} of its own" if look.files else ""
    say(f"[bold]{escape(name) or 'The shipped templates'}[/]{own}: {'see below' if found else 'nothing wrong'}.")
    for fault in found:
        mark = "[yellow]![/]" if fault.warning else f"[bold red]{sign('✗', 'error')}[/]"
        say(f"  {mark} [bold]{escape(fault.place)}[/]: {escape(fault.found)}")
        if fault.mend:
            say(escape(fault.mend), indent=6)


@app.command()
def preview(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=", ".join(KINDS))] = "digest",
    slug: ListSlug = None,
    language: Annotated[str, typer.Option("--language", help="en, es, fr or ar.")] = "en",
    watch: Annotated[bool, typer.Option("--watch", help="Show it in the browser, anew on each save.")] = False,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="With --watch; 0 picks a free one.")] = 8027,
    output: Annotated[
        Path, typer.Option("--output", metavar="FOLDER", help="Without --watch: where the files go.")
    ] = Path("mail-preview"),
    as_json: Json = False,
) -> None:
    """Show a mail with sample data: as files, or with --watch in the browser, phone and desktop, light and dark.

    Example: `newsletter templates preview digest --list rutas --watch`
    """
    if kind not in KINDS:
        raise InputError(f"There is no kind of mail {kind!r}.", f"There are: {', '.join(KINDS)}.")
    check_languages([language])
    house = opened()
    with reading(house.engine) as connection:
        rows = all_lists(connection)
        row = chosen_list(connection, slug) if slug or len(rows) > 0 else None
    if watch:
        _watch(house, row, kind, language, port)
        return
    look = look_of(house.settings, row) if row else PLAIN
    mail = seen(kind, look, language, row.name if row else "")
    files = {mode: output / f"{kind}-{language}-{mode}.html" for mode in MODES}
    try:
        output.mkdir(parents=True, exist_ok=True)
        for mode, file in files.items():
            file.write_text(in_mode(mail.html, mode), "utf-8")
    except OSError as error:
        raise InputError(
            f"{output} cannot be written to: {error.strerror}.", "Name another folder: --output."
        ) from None
    if as_json:
        print_json(
            {
                "subject": mail.subject,
                "preheader": mail.preheader,
                "files": [str(file) for file in files.values()],
                "faults": [asdict(one) for one in mail.faults],
            }
        )
    else:
        for file in files.values():
            say(escape(str(file)))
        _tell(row.slug if row else "", look, list(mail.faults))
    if any(not fault.warning for fault in mail.faults):
        raise typer.Exit(1)


def _watch(house: House, row: Any, kind: str, language: str, port: int) -> None:
    import uvicorn

    from newsletter.inbox.smtp import listen, port_of

    def look() -> Look:
        return look_of(house.settings, row) if row else PLAIN

    logos = {"logo": (row.logo, row.logo_type), "logo-dark": (row.logo_dark, row.logo_dark_type)} if row else {}
    app = preview_app(row.name if row else "", look, logos)
    with listen("127.0.0.1", port, "The preview's", ("--port",)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, access_log=False, server_header=False, log_level="warning"))
        say(f"Preview: http://127.0.0.1:{port_of(listener)}/?kind={kind}&language={language}")
        if row:
            say(f"Files in {escape(str(own_folder(house.settings.home, row.slug)))} are shown as you save them.")
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


@app.command()
def copy(
    names: Annotated[list[str], typer.Argument(metavar="FILE…", help="As in digest/subject.txt or style.css.")],
    slug: ListSlug = None,
) -> None:
    """Copy shipped template files into a list's own folder, to be changed there. A file that is there stays as it is.

    Example: `newsletter templates copy --list rutas digest/subject.txt style.css`
    """
    house = opened()
    with reading(house.engine) as connection:
        row = chosen_list(connection, slug)
    for name in names:
        if name not in FILES:
            raise InputError(f"There is no template file {name!r}.", f"There are: {', '.join(FILES)}.")
    kept = []
    for name in dict.fromkeys(names):
        file = own_folder(house.settings.home, row.slug) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with file.open("x", encoding="utf-8") as opened_file:
                opened_file.write(shipped_source(name))
        except FileExistsError:
            kept.append(str(file))
            continue
        say(escape(str(file)))
    if kept:
        raise InputError(f"There already: {', '.join(kept)}.", "Delete a file to begin with the shipped one again.")
