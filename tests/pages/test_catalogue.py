"""A registry as a site: what stands on its pages, and that all of it is text."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from brickctl.core.advisories import Advisory
from brickctl.core.dependency import BrickDependency, HubDependency
from brickctl.core.made_for import MadeFor
from brickctl.core.manifest_format import parse_manifest
from brickctl.core.registry_line import encode_line, parse_line
from brickctl.pages.catalogue.about import About
from brickctl.pages.catalogue.site import ON_A_PAGE, site
from tests.sources.registries import entry
from tests.support.catalogues import many_bricks
from tests.support.markup import Element, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.core.registry_line import RegistryEntry

FILES = {"model.safetensors": b"weights"}
TEAM = About(title="Bricks of the team", name="team", url="https://bricks.example/index")
BUILTIN = About(title="builtin", name="builtin")
HOSTILE = "</script></style><script>alert(1)</script><img src=x onerror=alert(1)>\" onload='x' {{ 7 * 7 }} é &lt;b&gt;"
BASE = replace(entry("1.0.0", FILES, name="acme/base"), kind="base")
SQL = tuple(
    replace(
        entry(version, FILES),
        base=MadeFor(source="index:acme/base/1.0.0", interface=BASE.interface),
        dependencies=(
            BrickDependency(brick="acme/gone"),
            BrickDependency(brick="acme/base", version="^1", is_base=True),
            HubDependency(source="hf:acme/other", commit="1405df66" * 5),
        ),
        summary="SQL from questions",
        tags=("sql",),
        published="2026-11-20T00:00:00Z",
        yanked=version == "1.1.0",
    )
    for version in ("1.0.0", "1.1.0", "1.2.0-rc.1", "0.9.0")
)
BAD = Advisory(id="ACME-1", summary="it lies", url='https://acme.example/"onclick=alert(1)', brick="acme/sql")


def files(*bricks: Sequence[RegistryEntry], about: About = TEAM, advisories: Sequence[Advisory] = ()) -> dict[str, str]:
    return {path: content.decode() for path, content in site(bricks, about, advisories)}


def page(name: str, made: dict[str, str]) -> Element:
    return read(made[f"bricks/{name}.html"])


def facts(root: Element) -> dict[str, str]:
    return {next(one.all("dt")).text: next(one.all("dd")).text for one in root.all("div") if list(one.all("dt"))}


def test_a_brick_has_a_line_to_copy_that_brick_toml_takes() -> None:
    made = files([BASE], SQL)
    command, lines = (one.text for one in page("acme/sql", made).all("pre"))
    assert command == "brickctl add acme/sql@^1.0.0 --registry team"
    manifest = parse_manifest('[project]\nname = "p"\n[base]\nsource = "path:base"\n' + lines)
    assert manifest.registries == {"team": "https://bricks.example/index"}
    (wanted,) = manifest.bricks.values()
    assert str(wanted.reference) == "acme/sql@^1.0.0"
    (base,) = (one.text for one in page("acme/base", made).all("pre"))
    assert parse_manifest(f'[project]\nname = "p"\n{base}').base.reference.version == "^1.0.0"


def test_a_brick_that_every_brickctl_knows_needs_no_registry() -> None:
    command, lines = (one.text for one in page("acme/sql", files([BASE], SQL, about=BUILTIN)).all("pre"))
    assert command == "brickctl add acme/sql@^1.0.0"
    assert lines == '[bricks]\nsql = "acme/sql@^1.0.0"'


def test_a_version_that_is_no_release_is_asked_for_exactly() -> None:
    command = next(page("acme/sql", files([SQL[2]], about=BUILTIN)).all("pre")).text
    assert command == "brickctl add acme/sql@=1.2.0-rc.1"


def test_versions_stand_from_the_newest_down_and_yanked_ones_are_marked() -> None:
    (table,) = (one for one in page("acme/sql", files(SQL)).all("table") if "version" in one.text)
    versions = [next(row.all("th")).text for row in table.all("tr")][1:]
    assert versions == ["1.2.0-rc.1", "1.1.0 yanked", "1.0.0", "0.9.0"]


def test_a_brick_whose_versions_were_all_yanked_says_so_and_offers_no_line_to_copy() -> None:
    made = files([replace(BASE, yanked=True)])
    root = page("acme/base", made)
    assert not list(root.all("pre"))
    assert "Every version was yanked" in root.text
    assert "yanked" in next(read(made["index.html"]).all("li")).text


def test_what_a_brick_needs_and_what_needs_it_lead_to_each_other() -> None:
    made = files([BASE], SQL)
    links = {one.text: one.attributes["href"] for one in page("acme/sql", made).all("a")}
    assert links["index:acme/base/1.0.0"] == links["acme/base ^1 as the base"] == "../../bricks/acme/base.html"
    (hub,) = (href for words, href in links.items() if words.startswith("hf:acme/other"))
    assert hub == f"https://huggingface.co/acme/other/tree/{'1405df66' * 5}"
    assert not any(words.startswith("acme/gone") for words in links)
    users = {one.text: one.attributes["href"] for one in page("acme/base", made).all("a")}
    assert users["acme/sql"] == "../../bricks/acme/sql.html"


def test_what_is_known_to_be_bad_stands_above_everything() -> None:
    root = page("acme/sql", files(SQL, advisories=[BAD]))
    told = next(one.text for one in root.all("p") if one.attributes.get("class") == "warning")
    assert told.startswith("ACME-1, about 1.2.0-rc.1, 1.1.0, 1.0.0, 0.9.0: it lies")
    assert "ACME-1" not in page("acme/base", files([BASE], advisories=[BAD])).text


def test_a_list_of_many_bricks_is_whole_without_a_script() -> None:
    bricks = list(many_bricks(ON_A_PAGE * 2 + 1))
    made = files(*bricks)
    lists = [path for path in made if path.startswith("pages/")]
    assert lists == ["pages/2.html", "pages/3.html"]
    named = [
        next(item.all("a")).attributes["href"].removeprefix("../")
        for path in ("index.html", *lists)
        for item in next(one for one in read(made[path]).all("ul") if one.attributes.get("id") == "list").all("li")
    ]
    assert named == [f"bricks/{entries[0].name}.html" for entries in bricks]
    assert all(path in made for path in named)
    (form,) = read(made["index.html"]).all("form")
    assert "hidden" in form.attributes
    hrefs = [one.attributes["href"] for one in read(made["pages/2.html"]).all("a")]
    assert {"../index.html", "../pages/3.html"} <= {*hrefs}


def test_the_data_of_the_search_is_small_and_says_what_the_list_says() -> None:
    bricks = list(many_bricks(50))
    script = files(*bricks)["catalogue.js"]
    assert len(script) < 200 * len(bricks)
    data = json.loads(re.fullmatch(r"globalThis\.catalogue = (.*);\n", script).group(1))  # type: ignore[union-attr]
    assert data["kinds"] == ["adapter", "expert", "neurons"]
    name, version, kind, license_name, base, summary, tags, yanked = data["rows"][4]
    first = bricks[4][1]
    assert (name, version, summary, tags.split()) == (first.name, "1.1.0", first.summary, [*first.tags])
    assert (data["kinds"][kind], data["licenses"][license_name]) == (first.kind, first.license)
    assert (data["bases"][base], yanked) == ("models/base-4", 0)


def test_an_empty_registry_is_said_to_be_empty() -> None:
    assert "This registry has no bricks yet." in read(files()["index.html"]).text


def hostile_entry() -> RegistryEntry:
    """Whatever a line lets through, as it comes out of the reader of lines."""
    spoilt = replace(
        SQL[0],
        summary=HOSTILE,
        license="LicenseRef-javascript.alert.1",
        files=(replace(SQL[0].files[0], path="a\"onload='x'<script>alert(1)<.safetensors".replace("/", "")),),
    )
    return parse_line(encode_line(spoilt), file="index/acme/sql")


def test_what_stands_in_a_registry_is_text_and_nothing_else() -> None:
    title = replace(TEAM, title=HOSTILE)
    bad = replace(BAD, summary=HOSTILE, id="ACME-1")
    spoilt = files([hostile_entry()], about=title, advisories=[bad])
    honest = files([SQL[0]], advisories=[BAD])
    for path in ("index.html", "bricks/acme/sql.html"):
        root, plain = read(spoilt[path]), read(honest[path])
        assert [one.name for one in root.all()] == [one.name for one in plain.all()]
        assert [[*one.attributes] for one in root.all()] == [[*one.attributes] for one in plain.all()]
        assert HOSTILE in root.text
    assert not re.search("[<>&]|[^\\x00-\\x7f]", spoilt["catalogue.js"])


def test_no_address_of_a_page_is_made_of_what_a_registry_says() -> None:
    made = files([BASE], [hostile_entry()], advisories=[BAD])
    for path, text in made.items():
        for one in read(text).all("a") if path.endswith(".html") else ():
            href = one.attributes["href"]
            assert re.match(r"https://(huggingface\.co|acme\.example)/|(\.\./)*[a-z]+(/|\.html)|#content$", href), href


def test_pages_load_nothing_from_elsewhere() -> None:
    for path, text in files([BASE], SQL).items():
        if not path.endswith(".html"):
            assert "http" not in text.replace("https://bricks.example/index", "")
            continue
        root = read(text)
        policy = next(one for one in root.all("meta") if one.attributes.get("http-equiv") == "Content-Security-Policy")
        assert policy.attributes["content"].startswith("default-src 'none'; style-src 'self'; script-src 'self';")
        loaded = [one.attributes.get("src") or one.attributes.get("href") for one in root.all("script", "link", "img")]
        assert {*loaded} <= {"data:,", "style.css", "search.js", "../../style.css"}


def test_equal_registries_give_equal_bytes() -> None:
    assert files([BASE], SQL) == files([BASE], SQL)


@pytest.mark.parametrize("name", ["a/" + "x" * 95, "a0_-/1.html"])
def test_names_that_are_long_or_odd_have_pages_all_the_same(name: str) -> None:
    made = files([replace(BASE, name=name, source=f"index:{name}/1.0.0")])
    assert f"bricks/{name}.html" in made
