"""Mails like real ones, for eyes and checks: digests of each length and layout and every notice, in each language."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from letters import ACTION, ENVELOPE, NOTICES, REPORT, compose
from plainly import Group, Letter

from newsletter.catalogue.geography import place_name
from newsletter.languages import LANGUAGES
from newsletter.mail.compose import compose_notice
from newsletter.mail.letter import Card, Choices, Masthead, Message, Notice
from newsletter.mail.look import Look
from newsletter.mail.signing import Signer, private_key, public_record
from newsletter.mail.templates import load_programs

LENGTHS = (1, 7, 30)
_LOGOS = Look(
    accent="#8a1c1c",
    accent_dark="#f2a49b",
    logo=("https://rutas.example.org/rutas/logo?v=1", 168, 56),
    logo_dark=("https://rutas.example.org/rutas/logo-dark?v=1", 168, 56),
)
BRANDS = {"logos": _LOGOS, "band": replace(_LOGOS, header="band")}
"""Looks that lists have made their own."""
LAYOUTS = ("compact", "themes")
"""Of thirty items, besides those in full and by country."""
DOMAIN = "rutas.example"
TODAY = date(2026, 11, 24)
PLACES = ("GT", "HN", "SV", "MX")
NAMES = {
    "en": ("Routes & Rights", "News on migration in Central America, from the people who work there."),
    "es": ("Rutas y derechos", "Noticias sobre migración en Centroamérica, de quienes trabajan allí."),
    "fr": (
        "Routes et droits",
        "L’actualité des migrations en Amérique centrale, par celles et ceux qui y travaillent.",
    ),
    "ar": ("دروب وحقوق", "أخبار الهجرة في أمريكا الوسطى ممن يعملون هناك."),
}
THEMES = {
    "en": ("Protection", "Counter-trafficking", "Labour migration", "Health"),
    "es": ("Protección", "Lucha contra la trata", "Migración laboral", "Salud"),
    "fr": ("Protection", "Lutte contre la traite", "Migration de travail", "Santé"),
    "ar": ("الحماية", "مكافحة الاتجار بالأشخاص", "هجرة العمالة", "الصحة"),
}
NOTES = {
    "en": "Dear readers,\n\nthe *shared desk at Corinto* has been open for a month. Two things to know:\n\n"
    "- it closes at 6 p.m. until the end of the year;\n- [the map of shelters](https://rutas.example.org/map) is new.",
    "es": "Estimadas lectoras y estimados lectores:\n\nla *ventanilla común de Corinto* cumple un mes. Dos avisos:\n\n"
    "- cierra a las 18 h hasta fin de año;\n- hay un nuevo [mapa de albergues](https://rutas.example.org/mapa).",
    "fr": "Chères lectrices, chers lecteurs,\n\nle *guichet commun de Corinto* a un mois. À savoir :\n\n"
    "- il ferme à 18 h jusqu’à la fin de l’année ;\n- [la carte des refuges](https://rutas.example.org/carte) est là.",
    "ar": "قراءنا الأعزاء،\n\nمضى شهر على افتتاح *المكتب المشترك في كورينتو*. أمران يهمكم:\n\n"
    "- يغلق المكتب في السادسة مساءً حتى نهاية العام؛\n- صدرت [خريطة الملاجئ](https://rutas.example.org/map).",
}
TEXTS = {
    "en": (
        ("Corinto crossing opens one shared desk for families on their way north",
         "Officers of both countries share one queue, one form and one interpreter. In the first month the wait fell "
         "from eleven hours to less than three, and no family was separated.\n\nThe desk is open every day."),
        ("Eleven held over fake job offers on cruise ships",
         "Recruiters asked for up to $4,000 in advance. Investigators traced the payments through three countries & "
         "ask those who paid to come forward; nobody who does will be charged."),
        ("Seasonal workers: what the new agreement with Canada changes", ""),
        ("Mobile clinics reach 42 villages 🏥 before the rains",
         "Vaccines, prenatal care and eye tests, on the same truck. The next round begins in Huehuetenango in May."),
        ("Counter-disinformation-and-cross-border-interoperability-preparedness-guidebooks",
         "The handbook says who answers which rumour, in how many hours, and in which of 23 languages."),
        ("Shelters along the Suchiate ask for interpreters of Haitian Creole and Portuguese",
         "A third of those who arrive speak no Spanish. Volunteers can join by telephone from anywhere."),
        ("“We count everyone”: a survey of returned children",
         "Of 1,204 children asked, 38% had left because of violence, 31% to join a parent. The data are open."),
    ),
    "es": (
        ("El paso de Corinto abre una ventanilla común para las familias que van hacia el norte",
         "Agentes de ambos países comparten una sola fila, un solo formulario y una intérprete. En el primer mes la "
         "espera bajó de once horas a menos de tres.\n\nLa ventanilla abre todos los días."),
        ("Once detenidos por falsas ofertas de empleo en cruceros",
         "Los reclutadores pedían hasta 4000 dólares por adelantado. La fiscalía pide que denuncie quien haya pagado; "
         "nadie será acusado por ello."),
        ("Trabajo de temporada: qué cambia con el nuevo acuerdo con Canadá", ""),
        ("Clínicas móviles llegan a 42 aldeas 🏥 antes de las lluvias",
         "Vacunas, control prenatal y examen de la vista en el mismo camión. En mayo empieza la próxima ronda."),
        ("Contradesinformación-e-interoperabilidad-transfronteriza-para-telecomunicaciones",
         "El manual dice quién responde a qué rumor, en cuántas horas y en cuál de los 23 idiomas."),
        ("Los albergues del Suchiate buscan intérpretes de criollo haitiano y portugués",
         "Un tercio de quienes llegan no habla español. También se puede ayudar por teléfono."),
        ("«Contamos a todos»: encuesta a niñas y niños retornados",
         "De 1204 entrevistados, el 38 % salió por la violencia y el 31 % para reunirse con su madre o su padre."),
    ),
    "fr": (
        ("Le poste de Corinto ouvre un guichet commun pour les familles en route vers le nord",
         "Les agents des deux pays partagent une file, un formulaire et une interprète. En un mois, l’attente est "
         "passée de onze heures à moins de trois.\n\nLe guichet est ouvert tous les jours."),
        ("Onze arrestations pour de fausses offres d’emploi sur des navires de croisière",
         "Les recruteurs exigeaient jusqu’à 4 000 dollars d’avance. Le parquet invite les victimes à se signaler ; "
         "aucune ne sera poursuivie."),
        ("Travail saisonnier : ce que change le nouvel accord avec le Canada", ""),
        ("Des cliniques mobiles dans 42 villages 🏥 avant les pluies",
         "Vaccins, suivi de grossesse et examen de la vue dans le même camion. Prochaine tournée en mai."),
        ("Contre-désinformation-et-interopérabilité-transfrontalière-des-communications-aé",
         "Le manuel dit qui répond à quelle rumeur, en combien d’heures et dans laquelle des 23 langues."),
        ("Les refuges du Suchiate cherchent des interprètes du créole haïtien et du portugais",
         "Un tiers des personnes qui arrivent ne parlent pas espagnol. On peut aussi aider par téléphone."),
        ("« Nous comptons tout le monde » : une enquête auprès des enfants renvoyés",
         "Sur 1 204 enfants interrogés, 38 % étaient partis à cause de la violence, 31 % pour rejoindre un parent."),
    ),
    "ar": (
        ("معبر كورينتو يفتتح مكتبا مشتركا للأسر المتجهة شمالا",
         "يتقاسم موظفو البلدين صفًا واحدًا واستمارة واحدة ومترجمة واحدة. وانخفض وقت الانتظار في الشهر الأول من إحدى "
         "عشرة ساعة إلى أقل من ثلاث.\n\nالمكتب مفتوح كل يوم."),
        ("توقيف أحد عشر شخصا بسبب عروض عمل وهمية على متن سفن سياحية",
         "طلب المحتالون ما يصل إلى 4000 دولار مقدمًا. وتدعو النيابة كل من دفع إلى التقدم ببلاغ دون خوف من الملاحقة."),
        ("العمل الموسمي: ما الذي يغيره الاتفاق الجديد مع كندا", ""),
        ("عيادات متنقلة تصل إلى 42 قرية 🏥 قبل موسم الأمطار",
         "لقاحات ورعاية للحوامل وفحص للنظر في شاحنة واحدة. تبدأ الجولة المقبلة في Huehuetenango في مايو."),
        ("مكافحة_المعلومات_المضللة_والتشغيل_البيني_عبر_الحدود_والاتصالات_الطارئة_والتأهب_1",
         "يبين الدليل من يرد على أي إشاعة، وفي كم ساعة، وبأي لغة من 23 لغة."),
        ("ملاجئ نهر سوتشياتي تبحث عن مترجمين للكريولية الهايتية والبرتغالية",
         "ثلث الوافدين لا يتكلمون الإسبانية. ويمكن التطوع عبر الهاتف من أي مكان."),
        ("«نعد الجميع»: استطلاع لآراء أطفال عائدين",
         "من بين 1204 أطفال غادر 38٪ بسبب العنف، و31٪ للحاق بأحد الوالدين. البيانات متاحة للجميع."),
    ),
}  # fmt: skip
PICTURES = {
    "en": "Families with rucksacks wait in the shade of a concrete bridge, next to a table with forms",
    "es": "Familias con mochilas esperan a la sombra de un puente de hormigón, junto a una mesa con formularios",
    "fr": "Des familles avec des sacs à dos attendent à l’ombre d’un pont, près d’une table couverte de formulaires",
    "ar": "أسر تحمل حقائب ظهر تنتظر في ظل جسر من الإسمنت، قرب طاولة عليها استمارات",
}
"""What each second picture shows; the others say nothing of it."""
GUEST = {"en": "ar", "es": "en", "fr": "es", "ar": "fr"}
"""The language that each seventh item of a digest is in."""


@cache
def specimens(at: datetime = datetime(2026, 11, 24, 8, tzinfo=UTC)) -> dict[str, Message]:
    """Every mail by its name (``digest-7-es``), dated ``at`` and signed."""
    return {name: _signed(message, at) for name, message in _composed(at)}


def _composed(at: datetime) -> Iterator[tuple[str, Message]]:
    envelope = replace(
        ENVELOPE,
        dated_at=at,
        feedback_id="1:rutas:digest:newsletter",
        leave_mail=f"mailto:leave+1.abcdefghijklmnopqrstuvwxyz@{DOMAIN}?subject=unsubscribe",
    )
    for language in LANGUAGES:
        for count in LENGTHS:
            yield f"digest-{count}-{language}", compose(digest(language, count), envelope)
        for name, look in BRANDS.items():
            yield f"digest-{name}-{language}", compose(digest(language, 7), envelope, load_programs(look))
        yield f"digest-compact-{language}", compose(replace(digest(language, max(LENGTHS)), style="compact"), envelope)
        yield f"digest-themes-{language}", compose(by_theme(digest(language, max(LENGTHS))), envelope)
        for kind in NOTICES:
            yield f"{kind}-{language}", compose_notice(notice(kind, language, at), envelope)


def digest(language: str, count: int) -> Letter:
    """A digest of so many items: that of seven has an editor's note, that of thirty a rest that is only named."""
    masthead = _masthead(language)
    cards = [_card(language, number) for number in range(count)]
    per_group = -(-count // len(PLACES)) if count > 1 else 1
    return Letter(
        language=language,
        list_name=masthead.list_name,
        list_slug=masthead.list_slug,
        sender_name=masthead.sender_name,
        sender_email=masthead.sender_email,
        postal_address=masthead.postal_address,
        day=TODAY,
        frequency={1: "immediate", 7: "daily"}.get(count, "weekly"),
        groups=tuple(
            Group(
                place_name(PLACES[at // per_group], language),
                tuple(cards[at : at + per_group]),
            )
            for at in range(0, count, per_group)
        ),
        rest=tuple(_card(language, 100 + number) for number in range(9)) if count == max(LENGTHS) else (),
        note=NOTES[language] if count == 7 else "",
    )


def by_theme(made: Letter) -> Letter:
    """The same items under their first themes; what has none comes last."""
    cards = [card for group in made.groups for card in group.cards]
    names = (*THEMES[made.language], "")
    groups = ((name, tuple(card for card in cards if (*card.themes, "")[0] == name)) for name in names)
    return replace(made, sections="theme", groups=tuple(Group(name, under) for name, under in groups))


def notice(kind: str, language: str, at: datetime) -> Notice:
    """A notice that says all that its kind can say."""
    places = tuple(place_name(code, language) for code in PLACES[:2])
    return Notice(
        kind=kind,
        masthead=_masthead(language),
        description=NAMES[language][1],
        action_url=ACTION,
        choices=Choices(places, THEMES[language][:1], "weekly", 8, 0, "America/Guatemala"),
        until=at + timedelta(days=7),
        next_at=(at + timedelta(days=7 - at.weekday())).replace(hour=8, minute=0),
        latest=tuple(_card(language, number) for number in range(3)) if kind in ("welcome", "run_held") else (),
        new_address="ana.nueva@example.org" if kind == "address_old" else "",
        paused=True,
        everywhere=True,
        report=REPORT,
    )


def _masthead(language: str) -> Masthead:
    name = NAMES[language][0]
    return Masthead(language, name, "rutas", name, f"digest@{DOMAIN}", "24 Calle Segunda, 01001 Guatemala")


def _card(language: str, number: int) -> Card:
    written = GUEST[language] if number % 7 == 6 else language
    title, summary = TEXTS[written][number % len(TEXTS[written])]
    places = [place_name(PLACES[(number + step) % len(PLACES)], language) for step in range(1 + number % 2)]
    themes = tuple(THEMES[language][(number + step) % 4] for step in range((1, 2, 1, 0)[number // 4 % 4]))
    return Card(
        title=title if number < 7 else f"{title} ({number})",
        summary=summary,
        url=f"https://rutas.example.org/2026/11/{number}?utm=none&lang={written}",
        language=written,
        source="Mesa de rutas" if number % 3 else "Routes Desk",
        day=TODAY - timedelta(days=number % 6),
        places=tuple(places),
        themes=themes,
        because=(places[0], *themes[:1]) if number % 5 else (),
        image=f"https://rutas.example.org/2026/11/{number}.jpg?w=1068&q=80" if number % 4 == 1 else "",
        image_alt=PICTURES[written] if number % 8 == 1 else "",
    )


def _signed(message: Message, at: datetime) -> Message:
    signature = _signer()[0].sign(message.head, message.body, int(at.timestamp()))
    return Message(message.return_path, signature + message.content, len(signature) + message.head_size)


@cache
def _signer() -> tuple[Signer, dict[str, str]]:
    keys = {
        selector: key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for selector, key in (("rsa", generate_private_key(65537, 2048)), ("ed", Ed25519PrivateKey.generate()))
    }
    records = {f"{selector}._domainkey.{DOMAIN}": public_record(private_key(pem)) for selector, pem in keys.items()}
    return Signer(DOMAIN, keys), records


def records() -> dict[str, str]:
    """What DNS would have for the keys that signed these mails, by name."""
    return _signer()[1]
