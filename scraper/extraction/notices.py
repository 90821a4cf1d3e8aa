"""Detect pages with status 200 and no article: errors, paywalls, consent requests."""

import re

from textmill.ground.words import count

NOTICE_FACTOR = 4  # a text this many times as long as an article must be is not judged by its title alone
CONSENT_SHARE = 0.04  # of the words: an article about cookies has fewer of these, a wall many more
CONSENT_WORDS = 600  # a longer text is an article about consent
CONSENT_TERMS = 3  # different ones, at least: a recipe has cookies, but no partners
_TITLE = 500  # characters of a title that are judged
_TITLE_WORDS = 10  # of a title's part, at most, for it to be the notice's own

# a site's name stands behind or before one of these
_PARTS = re.compile(r"\s+[-–—|·•»«]\s+|\s*[|•»«]\s*|:\s+|\s*[.!?…。！？]+(?:\s+|$)")
_CODE = r"(?:http\W*)?(?:status\W*)?(?:(?:error|fehler|erreur|errore?|ошибка|エラー)\W*)?(?:code\W*)?(?:40[0134]|410|429|50[0-4])"
_WORDS = (
    r"(?:error|bad request|unauthori[sz]ed|forbidden|access (?:is )?denied|gone|too many requests|service (?:temporarily )?unavailable"
    r"|internal server error|bad gateway|gateway time-?out|under maintenance|not found|nicht gefunden|zugriff verweigert"
    r"|introuvable|accès refusé|no encontrad[oa]|acceso denegado|non trovat[oa]|accesso negato|niet gevonden|não encontrad[oa])"
)
_ERROR = re.compile(rf"\W*(?:{_CODE}(?:\W+{_WORDS})*|{_WORDS}|oops\b.*|(?:we are |we're )?sorry)\W*", re.I)
# what no article's title says, in the languages of most sites
_MISSING = re.compile(
    r"\b(?:page|document|site|file|url|article|content|entry) (?:(?:was|is|could) )?(?:not (?:be )?(?:found|available)|does(?: not|n't) exist)\b"
    r"|\b(?:can(?:no|')t|could(?: not|n't)) find (?:that|the|this|your) page\b"
    r"|\b(?:seite|datei|artikel|dokument) (?:wurde |konnte )?(?:leider )?nicht gefunden\b|\bpage (?:introuvable|non trouvée)\b"
    r"|\bpágina no (?:encontrada|existe)\b|\bpágina não (?:encontrada|existe)\b|\bpagina non trovata\b|\bpagina niet gevonden\b"
    r"|\bстраница не (?:найдена|существует)|\bсторінку не знайдено|\bnie znaleziono strony|\bstrona nie (?:została znaleziona|istnieje)"
    r"|\bsidan (?:hittades inte|kunde inte hittas|finns inte)|\bsiden (?:ble|blev|kunne) ikke (?:funnet|fundet|findes)|\bsivua ei löydy|\bsivua ei löytynyt"
    r"|\bstránka (?:nebyla nalezena|nenalezena|neexistuje)|\bsayfa bulunamadı|\boldal nem található|\bpagina nu (?:a fost găsită|există)"
    r"|η σελίδα δεν βρέθηκε|ページが見つかりません|ページは存在しません|页面不存在|找不到页面|頁面不存在|找不到網頁|未找到页面|页面未找到"
    r"|페이지를 찾을 수 없습니다|الصفحة غير موجودة|لم يتم العثور على الصفحة|הדף לא נמצא|trang không tồn tại|không tìm thấy trang|halaman tidak ditemukan",
    re.I,
)
_LOG_IN = r"(?:log|sign)[ -]?in|login|anmelden|anmeldung|connexion|se connecter|iniciar sesión|accedi|inloggen|войти|вход|ログイン|登录|登入|로그인"
_WALL = re.compile(
    r"just a moment|attention required\b.*|.*\bare you (?:a )?(?:human|robot)\b.*|(?:please )?enable javascript\b.*"
    r"|checking your browser\b.*|verify(?:ing)? (?:that )?you are (?:a )?human\b.*"
    rf"|(?:please )?(?:{_LOG_IN})(?: or (?:register|sign up|create an account)| required| page"
    r"| to (?:continue|read|view|access|see|your account|my account|our site|this site|\S+))?|subscribe to (?:read|continue)\b.*",
    re.I,
)
_CONSENT_TITLE = re.compile(
    r"before you continue\b.*|we value your privacy\b.*|(?:your )?(?:consent|privacy choices)"
    r"|.*\bcookie (?:consent|settings|preferences|notice)|.*\bprivacy (?:settings|preferences|cent(?:er|re))",
    re.I,
)
_CONSENT = re.compile(
    r"\b(?:cookie|consent|gdpr|opt[- ]out|personali[sz]ed|advertis|legitimate interest|our partners|personal data"
    r"|privacy policy|einwilligung|datenschutz|personenbezogen|consentement|données personnelles|datos personales)",
    re.I,
)


def notice_in(title: str, text: str, min_words: int) -> str | None:
    """The reason why a page is a notice and not an article; None if it may be an article.

    Args:
        min_words: minimum length of an article, in words.
    """
    words = count(text)
    if words < NOTICE_FACTOR * min_words and (reason := _notice_of_title(title)):
        return reason
    terms = [found.lower() for found in _CONSENT.findall(text)]
    is_consent = len(terms) > CONSENT_SHARE * max(words, 1) and len(set(terms)) >= CONSENT_TERMS
    return "consent page" if words < CONSENT_WORDS and is_consent else None


def _notice_of_title(title: str) -> str | None:
    for part in filter(None, map(str.strip, _PARTS.split(title[:_TITLE]))):
        if _MISSING.search(part) or _ERROR.fullmatch(part):
            return "error page"
        for reason, pattern in (("wall", _WALL), ("consent page", _CONSENT_TITLE)):
            if count(part) <= _TITLE_WORDS and pattern.fullmatch(part):
                return reason
    return None
