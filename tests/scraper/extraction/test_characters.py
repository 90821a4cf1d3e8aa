import pytest

from scraper.extraction.characters import cleaned, decoded

SENTENCES = {
    "windows-1251": "Вчера вечером в старом городе открыли новую библиотеку",
    "koi8-r": "Вчера вечером в старом городе открыли новую библиотеку",
    "shift_jis": "昨日の夜、古い町に新しい図書館が開かれ、住民たちは本を見る",
    "euc-kr": "어제 저녁 오래된 마을에 새 도서관이 문을 열었다",
    "gb18030": "昨天晚上古老的小镇开了一座新的图书馆",
    "windows-1253": "Χθες το βράδυ στην παλιά πόλη άνοιξε",
    "windows-1252": "Für Gäste öffnet das Café “täglich” seine Küche",
    "utf-8": "Für Gäste öffnet das Café “täglich” 図書館",
}


def page(sentence: str, charset: str) -> bytes:
    return f"<html><head><title>x</title></head><body><p>{(sentence + '. ') * 9}</p></body></html>".encode(charset)


@pytest.mark.parametrize("declared", ["its own", "utf-8", "iso-8859-1", None])
@pytest.mark.parametrize("charset", SENTENCES)
def test_bytes_decide_before_what_is_declared(charset: str, declared: str | None) -> None:
    body = page(SENTENCES[charset], charset)
    assert SENTENCES[charset] in decoded(body, charset if declared == "its own" else declared)


@pytest.mark.parametrize("stray", [b"\xfc", b"\x93", b"\xc3", b"\xe2\x80"])
def test_a_stray_byte_does_not_make_a_page_unreadable(stray: bytes) -> None:
    sentence = SENTENCES["utf-8"]
    assert sentence in decoded(page(sentence, "utf-8") + stray + b"</html>", "utf-8")


def test_a_declared_charset_of_escapes_is_used() -> None:
    body = page("昨日の夜", "iso-2022-jp")
    assert "昨日の夜" in decoded(body, "iso-2022-jp")
    assert "昨日の夜" in decoded("昨日の夜".encode("utf-16"), None)


def test_invisible_characters_ligatures_and_mojibake_are_cleaned_and_joiners_stay() -> None:
    assert cleaned("ri\u00adver\u200b, the of\ufb01ce\ufeff \ufffd FÃ¼r") == "river, the office  Für"
    assert cleaned("می\u200cخواهم") == "می\u200cخواهم"
    assert cleaned('"It\u2019s" — 5 < 6 &amp; 7') == '"It\u2019s" — 5 < 6 &amp; 7'
    assert cleaned("def f():\n    return 1\n\n\nx") == "def f():\n    return 1\n\n\nx"
