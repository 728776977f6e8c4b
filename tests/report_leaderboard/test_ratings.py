"""Human ratings: the page hides its answers, raters' files are scored with intervals."""

import json
import re

import numpy as np
import pytest
from browser import act

from mind_animator.artefacts.files import write_json
from mind_animator.errors import InputError
from mind_animator.report.ratings import build_rating_page, draw_questions, key_of, score_ratings

CLIPS = [f"t-{index:05d}" for index in range(60)]
SHOWN = [("ours", "1"), ("theirs", "1")]


@pytest.fixture
def questions():
    return draw_questions(CLIPS, ["t"] * 60, SHOWN, count=20, checks=5, generator=np.random.default_rng(1))


def test_questions(questions):
    assert len(questions) == 45
    assert len({question.id for question in questions}) == 45
    by_method = {m: [q for q in questions if q.method == m] for m in ("ours", "theirs", "attention")}
    assert [len(own) for own in by_method.values()] == [20, 20, 5]
    # the same clips and rivals for every method
    assert [(q.clip, q.first, q.second) for q in by_method["ours"]] == [
        (q.clip, q.first, q.second) for q in by_method["theirs"]
    ]
    for question in questions:
        rows = [CLIPS.index(clip) for clip in (question.first, question.second)]
        assert abs(rows[0] - rows[1]) >= 10
        assert question.clip in (question.first, question.second)
    rights = [question.right for question in by_method["ours"]]
    assert 2 <= rights.count("first") <= 18  # 20 fair coins leave this range with probability 4e-5
    again = draw_questions(CLIPS, ["t"] * 60, SHOWN, count=20, checks=5, generator=np.random.default_rng(1))
    assert again == questions


def test_too_few_clips():
    with pytest.raises(InputError, match="Expected 1 to 60 clips to rate, got 61"):
        draw_questions(CLIPS, ["t"] * 60, SHOWN, count=61, checks=0, generator=np.random.default_rng(1))
    with pytest.raises(InputError, match="Expected clips at least 10 away"):
        draw_questions(CLIPS[:5], ["t"] * 5, SHOWN, count=2, checks=0, generator=np.random.default_rng(1))


def sources(questions):
    ground_truths = {clip: f"data:video/mp4;base64,T{index}" for index, clip in enumerate(CLIPS)}
    made = {(q.method, q.subject, q.clip): f"data:video/mp4;base64,{q.method}{q.clip}" for q in questions}
    return ground_truths, made


def test_page_does_not_reveal_the_answers(questions):
    page = build_rating_page(questions, *sources(questions), page="study")
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S).group(1))
    assert len(data["questions"]) == 45
    for asked in data["questions"]:
        assert set(asked) == {"id", "shown", "first", "second"}
    # only the substitute videos contain the names of methods and clips
    data["videos"] = {}
    text = json.dumps(data)
    assert "ours" not in text
    assert "t-000" not in text
    assert not re.findall(r"""(?:src|href)=["']?https?:|fetch\(|XMLHttp""", page)


def answers(questions, right, rng, **more):
    """A rater who is right with the given probability, and always at the attention checks."""
    found = []
    for question in questions:
        hit = question.method == "attention" or rng.random() < right[question.method]
        chosen = question.right if hit else {"first": "second", "second": "first"}[question.right]
        found.append({"id": question.id, "chosen": chosen})
    return {"page": "study", "rater": "r", "answers": found} | more


def test_scoring(questions, tmp_path, rng):
    key = key_of(questions, "study")
    files = []
    for number in range(8):
        files.append(tmp_path / f"r{number}.json")
        write_json(files[-1], answers(questions, {"ours": 0.9, "theirs": 0.5}, rng, rater=f"rater {number}"))
    asleep = answers(questions, {"ours": 0.0, "theirs": 0.0}, rng, rater="asleep")
    checks = {question.id for question in questions if question.method == "attention"}
    for answer in asleep["answers"]:
        if answer["id"] in checks:
            answer["chosen"] = {"first": "second", "second": "first"}[answer["chosen"]]
    others = {
        "asleep": asleep,
        "twice": answers(questions, {"ours": 0, "theirs": 0}, rng, rater="rater 0"),
        "other": answers(questions, {"ours": 0, "theirs": 0}, rng, page="another", rater="x"),
        "odd": {"page": "study", "rater": "y", "answers": [{"id": "q9999", "chosen": "first"}]},
    }
    for name, content in others.items():
        files.append(tmp_path / f"{name}.json")
        write_json(files[-1], content)
    files.append(tmp_path / "broken.json")
    files[-1].write_text("{")
    scores, raters = score_ratings(key, files, generator=np.random.default_rng(0))
    assert raters["used"].tolist() == [True] * 8 + [False] * 5
    notes = raters.set_index("file")["note"]
    assert notes["asleep.json"] == "attention below 0.8"
    assert notes["twice.json"] == "a second file of the same rater"
    assert "Expected answers to the page 'study'" in notes["other.json"]
    assert "Expected one answer" in notes["odd.json"]
    assert "Expected JSON" in notes["broken.json"]
    own = scores.set_index("method")
    assert own.loc["ours", "low"] > 0.75
    assert own.loc["theirs", "low"] < 0.5 < own.loc["theirs", "high"]
    assert (own["answers"] == 160).all()
    assert (own["raters"] == 8).all()
    with pytest.raises(InputError, match="Expected at least one usable file"):
        score_ratings(key, [files[8], *files[10:]], generator=np.random.default_rng(0))


def test_a_rater_answers_every_question_and_returns_the_file(questions, tmp_path):
    """In a browser: name, all questions by pointer and keys, the saved file scored against the key."""
    page = tmp_path / "study.html"
    page.write_text(build_rating_page(questions, *sources(questions), page="study"))
    right = {question.id: question.right for question in questions}
    found = act(
        page,
        """
        const right = RIGHT, asked = [];
        document.getElementById("rater").value = "A. N. Other";
        click(document.getElementById("begin"));
        const shown = document.getElementById("number").textContent;
        const videos = ["shown", "left", "right"].map(id => document.getElementById(id))
          .map(node => node.tagName === "VIDEO" ? node : node.querySelector("video")).map(video => video.src);
        while (!document.getElementById("ask").hidden) {
          const {question, flipped} = order[position];
          asked.push([question.id, flipped]);
          const left = (right[question.id] === "first") !== flipped;
          if (position % 2) click(document.getElementById(left ? "left" : "right"));
          else document.dispatchEvent(new KeyboardEvent("keydown", {key: left ? "1" : "2"}));
        }
        const save = document.getElementById("save");
        const text = await (await fetch(save.href)).text();
        return {shown, videos, asked, name: save.download, text};
        """.replace("RIGHT", json.dumps(right)),
    )
    assert found["shown"] == "Question 1 of 45"
    assert len(set(found["videos"])) in (2, 3) and all(
        v.startswith("data:video/mp4") for v in found["videos"]
    )
    ids, flips = zip(*found["asked"], strict=True)
    assert sorted(ids) == sorted(right) and list(ids) != sorted(ids)  # a new order for every rater
    assert 5 < sum(flips) < 40  # 45 fair coins leave this range with probability 1e-7
    assert found["name"] == "ratings-A_N_Other.json"
    (tmp_path / "a.json").write_text(found["text"])
    scores, raters = score_ratings(
        key_of(questions, "study"), [tmp_path / "a.json"], generator=np.random.default_rng(0)
    )
    assert raters["used"].tolist() == [True] and raters["attention"].tolist() == [1.0]
    assert scores["right"].tolist() == [1.0, 1.0]
