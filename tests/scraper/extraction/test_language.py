"""The language of a text is told from the text."""

import pytest

from scraper.extraction.language import language_of
from scraper.extraction.page import Page

PARAGRAPHS = {
    "en": "The mill stands below the weir, and in winter its wheel is kept still for weeks while the ice holds the pond.",
    "de": "Die Mühle steht unter dem Wehr, und im Winter bleibt ihr Rad wochenlang stehen, während das Eis den Teich hält.",
    "fr": "Le moulin se trouve sous le barrage, et en hiver sa roue reste immobile pendant que la glace tient l'étang.",
    "es": "El molino está debajo de la presa, y en invierno su rueda permanece quieta durante semanas por el hielo.",
    "it": "Il mulino sta sotto la diga, e d'inverno la sua ruota rimane ferma per settimane mentre il ghiaccio tiene lo stagno.",
    "pt": "O moinho fica abaixo do açude, e no inverno a sua roda permanece parada durante semanas por causa do gelo.",
    "nl": "De molen staat onder de stuw, en in de winter blijft het rad wekenlang stil terwijl het ijs de vijver vasthoudt.",
    "pl": "Młyn stoi poniżej jazu, a zimą jego koło stoi tygodniami, podczas gdy lód trzyma staw.",
    "sv": "Kvarnen står nedanför dammen, och på vintern står hjulet stilla i veckor medan isen håller dammen.",
    "fi": "Mylly seisoo padon alapuolella, ja talvella sen ratas seisoo viikkoja jään pitäessä lampea.",
    "cs": "Mlýn stojí pod jezem a v zimě jeho kolo stojí celé týdny, zatímco led drží rybník.",
    "hu": "A malom a gát alatt áll, és télen a kereke hetekig áll, amíg a jég fogva tartja a tavat.",
    "ru": "Мельница стоит под плотиной, и зимой её колесо неделями стоит неподвижно, пока лёд держит пруд.",
    "uk": "Млин стоїть під греблею, і взимку його колесо тижнями стоїть нерухомо, поки лід тримає ставок.",
    "el": "Ο μύλος βρίσκεται κάτω από το φράγμα και τον χειμώνα ο τροχός του μένει ακίνητος για εβδομάδες.",
    "tr": "Değirmen bendin altında durur ve kışın buz göleti tutarken çarkı haftalarca hareketsiz kalır.",
    "ar": "تقع الطاحونة أسفل السد، وفي الشتاء تبقى عجلتها ساكنة لأسابيع بينما يمسك الجليد بالبركة.",
    "ja": "水車小屋は堰の下に立っており、冬になると池が氷に閉ざされ、水車は何週間も止まったままになる。",
    "zh": "磨坊位于水坝下方，冬天池塘结冰的时候，水车会停转好几个星期。",
    "ko": "물레방앗간은 둑 아래에 서 있고, 겨울이면 연못이 얼어 바퀴가 몇 주 동안 멈춰 있다.",
}


@pytest.mark.parametrize("language", PARAGRAPHS)
def test_a_paragraph_is_told_in_twenty_languages_whatever_the_page_declares(language: str) -> None:
    text = PARAGRAPHS[language] * 2
    assert language_of(text, None) == language
    assert language_of(text, "en" if language != "en" else "de") == language


def test_where_the_text_is_unclear_or_the_languages_are_alike_the_page_is_believed() -> None:
    assert language_of("GPT-2 42 x", "cs") == "cs"
    assert language_of("Møllen står nedenfor dammen, og om vinteren står hjulet stille i flere uker.", "nb") == "nb"


@pytest.mark.parametrize(
    "page",
    [
        '<html lang="en_US"><body>x</body></html>',
        '<html xml:lang="en-GB"><body>x</body></html>',
        '<html lang=""><head><meta property="og:locale" content="en_GB"></head><body>x</body></html>',
        '<html lang="eng"><head><meta http-equiv="Content-Language" content="en, fr"></head><body>x</body></html>',
    ],
)
def test_the_declared_language_is_read_in_all_its_forms(page: str) -> None:
    assert Page(page, "http://example.org/").language() == "en"
