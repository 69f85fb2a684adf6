from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.schema.helpers import PAGE_SLUGS, broken_into_lines, page, sample_body
from wiro_nb.errors import UnreadableSchema
from wiro_nb.schema import ModelSchema, read_page


def one_input(entry: str, heading: str = "Model", line_breaks: bool = False) -> ModelSchema:
    gap = "\n" if line_breaks else " "
    head = gap.join(
        [
            f"## Basic tool info{gap}{heading} name: me/mine",
            "Run Task Endpoint (POST): https://api.wiro.ai/v1/Run/me/mine",
        ]
    )
    return read_page(f"{head}{gap}## {heading} Inputs:{gap}{entry}{gap}## Integration Header Prepare{gap}x")


@pytest.mark.parametrize("name", PAGE_SLUGS)
def test_flattened_and_line_broken_pages_give_the_same_schema(name: str) -> None:
    broken = broken_into_lines(page(name))
    assert broken.count("\n") > 30
    assert read_page(broken) == read_page(page(name))


@pytest.mark.parametrize("name", PAGE_SLUGS)
def test_windows_line_ends_and_a_byte_order_mark_change_nothing(name: str) -> None:
    broken = "\ufeff" + broken_into_lines(page(name)).replace("\n", "\r\n")
    assert read_page(broken) == read_page(page(name))


@pytest.mark.parametrize("name", PAGE_SLUGS)
def test_slug_and_every_input_of_the_sample_body_are_found(name: str) -> None:
    schema = read_page(page(name))
    assert schema.slug == PAGE_SLUGS[name]
    assert not schema.free_form
    assert [parameter.id for parameter in schema.parameters] == list(sample_body(name))


@pytest.mark.parametrize("name", PAGE_SLUGS)
def test_defaults_equal_the_sample_body_of_the_same_page(name: str) -> None:
    sample = sample_body(name)
    for parameter in read_page(page(name)).parameters:
        default = ",".join(parameter.default) if isinstance(parameter.default, tuple) else parameter.default or ""
        if (name, parameter.id) == ("animate-diff", "selectedModel"):
            assert (default, sample[parameter.id]) == ("60", "")
        else:
            shown = sample[parameter.id]
            assert default == (",".join(shown) if isinstance(shown, list) else str(shown))


def test_name_and_run_path_may_differ() -> None:
    schema = read_page(page("wan2.2-effects-extra"))
    assert (schema.slug, schema.run_path) == ("wiro/wan2.2-effects-extra", "wiro/wan2-2-effects-extra")
    assert schema.tags == ("video", "image-to-video")
    assert schema.cover == "https://cdn.wiro.ai/uploads/models/wiro-wan2.2-effects-extra-cover.mp4"
    effect = schema.get("effectType")
    assert effect is not None
    assert len(effect.options) == 19
    assert (effect.options[17].value, effect.options[17].label) == (
        "ironman-transformation",
        "Iron Man Transformation",
    )


def test_animate_diff_options_keep_labels_with_slashes_and_trigger_words() -> None:
    model, private = read_page(page("animate-diff")).parameters[:2]
    assert model.default == "60"
    assert "60" not in [option.value for option in model.options]
    assert model.options[3].label == "SG161222/Realistic Vision v5.1 VAE"
    assert model.options[2].trigger_words == ()
    assert model.options[0].trigger_words == ("aodai", "3dcharacter", "3dcutecharacter", "chibi")
    assert "colored line art" in model.options[4].trigger_words
    assert model.options[4].description == "M4RV3LS & DUNGEONS"
    assert (private.type, private.options, private.default) == ("select", (), "")


def test_vace_keeps_emoji_values_apart_from_labels_and_reads_counts() -> None:
    schema = read_page(page("vace"))
    speed, images = schema.get("speedMode"), schema.get("inputImage")
    assert speed is not None
    assert images is not None
    assert speed.options[0].value == "Lightly Juiced 🍊 (more consistent)"
    assert speed.options[0].label == "Lightly Juiced 🍊 (best quality)"
    assert images.default == ("pruna-vace-input-3-1.jpg", "pruna-vace-input-3-2.jpg")
    assert (images.multiple, images.min, images.max, images.required) == (True, "1", "3", False)
    ratio = schema.get("ratio")
    assert ratio is not None
    assert [option.value for option in ratio.options] == ["auto", "16:9", "9:16"]


def test_required_is_derived_from_what_the_model_does() -> None:
    needed = {name: [p.id for p in read_page(page(name)).parameters if p.required] for name in PAGE_SLUGS}
    assert needed == {
        "animate-diff": ["prompt"],
        "wan2.2-effects-extra": ["inputImage"],
        "vace": ["prompt"],
        "Wan2.2-TI2V-5B-text-to-video": ["prompt"],
    }


def test_labels_are_human_ids_exact_and_placeholder_helps_empty() -> None:
    schema = read_page(page("Wan2.2-TI2V-5B-text-to-video"))
    labels = {parameter.id: parameter.label for parameter in schema.parameters}
    assert labels["negativePrompt"] == "Negative prompt"
    assert labels["numFrames"] == "Num frames"
    assert labels["fps"] == "FPS"
    fps = schema.get("fps")
    assert fps is not None
    assert fps.help == ""
    assert read_page(page("animate-diff")).parameters[0].label == "Dreambooth model"
    assert read_page(page("wan2.2-effects-extra")).parameters[1].label == "Effect Type"


def test_the_rule_in_a_help_text_is_read() -> None:
    frames = read_page(page("Wan2.2-TI2V-5B-text-to-video")).get("numFrames")
    assert frames is not None
    assert frames.rule == "4n+1"
    told = one_input(
        "- name: n label: N help: If N is divisible by 4 the length should be N+1 type: number default: 97"
    )
    assert told.parameters[0].rule == "4n+1"


def test_a_page_without_inputs_but_with_a_name_gives_a_free_form_schema() -> None:
    schema = read_page(page("SkyReels-V1"), source_name="sky")
    assert (schema.slug, schema.run_path, schema.title) == (
        "wiro/SkyReels-V1",
        "wiro/SkyReels-V1",
        "SkyReels Image To Video",
    )
    assert schema.free_form
    assert schema.parameters == ()
    assert schema.source == {"kind": "page", "name": "sky", "note": "the page lists no inputs"}
    assert "{{" not in str(schema.to_dict())


def test_template_placeholders_are_never_a_model() -> None:
    nameless = page("SkyReels-V1").replace("wiro/SkyReels-V1", "").replace("wiro/ SkyReels-V1", "")
    with pytest.raises(UnreadableSchema, match="placeholders") as caught:
        read_page(nameless, source_name="page.txt")
    assert caught.value.source == "page.txt"
    assert "%wiro info" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("\ufeff \n\t", "empty"),
        ("<!DOCTYPE html><html><body>API Sample: wiro/x</body></html>", "HTML"),
        ("\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not text"),
        ("\ufffd" * 50, "not text"),
        ('{"result": false}', "names no model"),
        ("A page about something else.", "names no model"),
        ("## Basic tool info Model name: {{owner}}/{{name}}", "names no model"),
        ("## Basic tool info Model name: ../etc", "names no model"),
        ("x" * 500_001, "longer"),
    ],
)
def test_text_that_is_no_model_page_says_what_it_is_and_what_to_do(text: str, says: str) -> None:
    with pytest.raises(UnreadableSchema, match=says) as caught:
        read_page(text, source_name="given.txt")
    assert caught.value.source == "given.txt"
    assert caught.value.message.startswith("given.txt: ")
    assert caught.value.hint


@pytest.mark.parametrize("line_breaks", [False, True])
def test_a_page_cut_inside_an_input_is_refused_not_half_read(line_breaks: bool) -> None:
    whole = broken_into_lines(page("vace")) if line_breaks else page("vace")
    begin = whole.index("sampleShift")
    for end in (begin + 30, whole.index("type:", begin) + len("type:")):
        with pytest.raises(UnreadableSchema, match="cut inside the input sampleShift"):
            read_page(whole[:end])


@pytest.mark.parametrize("line_breaks", [False, True])
@pytest.mark.parametrize(
    "prompt",
    [
        'A "quoted" title: red, blue - and green; 16:9',
        "label: made of type, with options: many",
        "a list - name: Anna - name: Ben",
        "'tis $5 {braces} # no comment \\ back",
        '"whole prompt in quotes"',
        "夜の雪 🦌 à la carte",
    ],
)
def test_a_default_prompt_may_hold_anything(prompt: str, line_breaks: bool) -> None:
    keys = ["- name: prompt", "label: Prompt", "help:", "type: textarea", f"default: {prompt}"]
    entry = ("\n  " if line_breaks else " ").join(keys)
    following = "- name: seed label: seed help: seed-help type: text default: 7"
    if line_breaks:
        following = following.replace(" label:", "\n  label:").replace(" help:", "\n  help:")
        following = following.replace(" type:", "\n  type:").replace(" default:", "\n  default:")
    schema = one_input(entry + ("\n" if line_breaks else " ") + following, line_breaks=line_breaks)
    assert [(p.id, p.default) for p in schema.parameters] == [("prompt", prompt), ("seed", "7")]


def test_a_line_broken_prompt_keeps_its_lines_and_text_that_looks_like_an_input() -> None:
    prompt = "first line - name: fake label: no help: no type: text default: 3\n\n  second: line"
    entry = f"- name: prompt\n  label: Prompt\n  help:\n  type: textarea\n  default: {prompt}"
    schema = one_input(entry, line_breaks=True)
    assert [parameter.default for parameter in schema.parameters] == [prompt]


def test_in_a_flattened_page_the_run_sample_tells_a_prompt_from_an_input() -> None:
    fake = "a form - name: fake label: no help: no type: text default: 3"
    text = page("vace").replace("A serene and beautiful", fake + " A serene and beautiful")
    schema = read_page(text)
    assert schema.get("fake") is None
    assert str(schema.parameters[0].default).startswith(fake)
    assert len(schema.parameters) == 11


def test_old_headings_and_unknown_types_are_read() -> None:
    schema = one_input('- name: mode label: Mode help: type: radio-group default: "b"', heading="Tool")
    assert (schema.parameters[0].type, schema.parameters[0].default) == ("radio-group", "b")
    assert schema.parameters[0].kind == ""


def test_a_repeated_input_or_option_counts_once() -> None:
    entry = (
        '- name: a label: A help: type: select default: x options: - value: "x" label: X - value: "x" label: Y '
    )
    schema = one_input(entry + "- name: a label: B help: type: text default: 2")
    assert [(p.id, p.label) for p in schema.parameters] == [("a", "A")]
    assert [option.value for option in schema.parameters[0].options] == ["x"]


def test_a_description_may_hold_odd_characters() -> None:
    odd = '5: <b>it\'s</b> - 100% "new" & 🦊'
    schema = read_page(
        f"## Basic tool info Model name: me/mine Model description: {odd} Model cover: none "
        "Model categories: - tool ## Model Inputs: - name: a label: a help: type: text default: 1"
    )
    assert schema.description == odd
    assert schema.cover == ""
    assert schema.categories == ("tool",)


def test_broken_trigger_words_lose_nothing_else() -> None:
    entry = (
        "- name: a label: A help: type: select default: 1 options: "
        '- value: "1" label: One description: d triggerwords: ["p","q" generatesettings: [] '
        '- value: "2" label: Two description: triggerwords: nonsense generatesettings: []'
    )
    options = one_input(entry).parameters[0].options
    assert [(option.value, option.label) for option in options] == [("1", "One"), ("2", "Two")]
    assert options[0].trigger_words == ("p", "q")
    assert options[1].trigger_words == ()


@pytest.mark.parametrize(
    "section",
    [
        "- prompt: a fox: running seed: 5 - prompt: a hare seed: 6",
        "- prompt: a fox: running\n  seed: 5\n- prompt: a hare\n  seed: 6",
        '[{"prompt": "a fox: running", "seed": "5"}, {"prompt": "a hare", "seed": 6}]',
    ],
)
def test_the_trailing_samples_of_older_pages_are_no_inputs(section: str) -> None:
    text = (
        "## Basic tool info Tool name: me/mine ## Tool Inputs: "
        "- name: prompt label: p help: type: textarea default: z "
        f"- name: seed label: s help: type: text default: 1 ## Tool Parameter Inspires: {section}"
    )
    schema = read_page(text)
    assert [parameter.default for parameter in schema.parameters] == ["z", "1"]


FRAGMENTS = st.sampled_from(
    [
        "## Basic tool info",
        "Model name: a/b",
        "Run Task Endpoint (POST): https://api.wiro.ai/v1/Run/a/b",
        "## Model Inputs:",
        "- name: x",
        "label: L",
        "help: seed-help",
        "type: select",
        "type: fileinput",
        "default: 1",
        'default: "',
        "options:",
        '- value: "1" label: One',
        "triggerwords: [[[",
        "## Integration",
        '"https://api.wiro.ai/v1/Run/a/b" -d \'{"x": 1',
        "\n",
        "\n  ",
    ]
)


@given(st.one_of(st.text(max_size=300), st.lists(FRAGMENTS, max_size=25).map(" ".join)))
def test_any_text_gives_a_schema_or_says_it_is_unreadable(text: str) -> None:
    try:
        schema = read_page(text)
    except UnreadableSchema:
        return
    assert schema.free_form == (not schema.parameters)


@pytest.mark.parametrize(
    "text",
    [
        "## Basic tool info Model name: a/b ## Model Inputs: - name: x label:" + " " * 400_000,
        "## Model Inputs: " + "- name: x label: y " * 25_000,
        '/Run/x/y" ' * 50_000,
        "Model name: " * 40_000,
        "## Basic tool info Model name: a/b ## Model Inputs: - name: x label: l type: select default: options: "
        + '- value: "' * 40_000,
        "API Sample: " * 40_000,
        "## Tool Parameter Inspires: " + "[" * 400_000,
    ],
)
def test_hostile_pages_are_read_in_bounded_work(text: str) -> None:
    with contextlib.suppress(UnreadableSchema):
        read_page(text)
