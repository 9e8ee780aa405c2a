"""What the DNS says of the domains that lists send from, and of the addresses that mails come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from newsletter.delivery.composing import keyring
from newsletter.doctor import dmarc, spf
from newsletter.doctor.findings import Finding, Level
from newsletter.doctor.records import same_key, zone_line
from newsletter.doctor.resolving import Resolver
from newsletter.doctor.sending import Sender
from newsletter.errors import NewsletterError
from newsletter.mail.signing import private_key, public_record
from newsletter.settings import Settings


@dataclass(frozen=True)
class Domains:
    """The checks; return paths are of the sender's own domain, and so are signatures."""

    settings: Settings
    resolver: Resolver
    domains: Callable[[], Sequence[str]]
    senders: Callable[[], Sequence[Sender]]

    def spf(self) -> Iterator[Finding]:
        """Whether the addresses that mails come from may send for the domain (RFC 7208)."""
        return self._each("SPF", self._spf)

    def dkim(self) -> Iterator[Finding]:
        """Whether the DNS has the keys that sign (RFC 6376)."""
        return self._each("DKIM", self._dkim)

    def dmarc(self) -> Iterator[Finding]:
        """Whether there is a policy, and mails meet it (RFC 9989)."""
        return self._each("DMARC", self._dmarc)

    def mx(self) -> Iterator[Finding]:
        """Whether what comes back finds a server (RFC 5321, 5.1)."""
        return self._each("MX", self._mx)

    def _each(self, check: str, run: Callable[[str], Iterable[Finding]]) -> Iterator[Finding]:
        domains = self.domains()
        if not domains:
            yield Finding(check, Level.WARNING, "", "No list sends mails yet.", mend="newsletter lists create --help")
        for domain in domains:
            try:
                yield from run(domain)
            except NewsletterError as error:
                found = f"This could not be looked at: {error.message}"
                yield Finding(check, Level.WARNING, domain, found, mend=error.hint)

    def _spf(self, domain: str) -> Iterator[Finding]:
        senders = self.senders()
        records = spf.record_of(self.resolver, domain)
        allowed = " ".join(_mechanism(one.address) for one in senders) or "a:your-relay.example.org"
        if not records:
            yield Finding(
                "SPF", Level.ERROR, domain, "There is no SPF record.",
                "Nobody can tell whether a relay may send for this domain: large providers refuse the mails or file "
                "them as spam.",
                zone_line(domain, f"v=spf1 {allowed} ~all"),
            )  # fmt: skip
            return
        if not senders:
            yield Finding(
                "SPF", Level.WARNING, domain, "There is a record; which address mails come from is not known here.",
                mend="newsletter doctor --address 192.0.2.25",
            )  # fmt: skip
        for one in senders:
            yield self._spf_of(domain, one, records[0])

    def _spf_of(self, domain: str, sender: Sender, record: str) -> Finding:
        verdict = spf.evaluate(self.resolver, domain, sender.address)
        about = f"{domain} from {sender.address} ({sender.of})"
        if verdict.word == "pass" and verdict.reason.lower().endswith("all"):
            return Finding(
                "SPF",
                Level.WARNING,
                about,
                f"Anybody may send for the domain: {verdict.reason}.",
                "Receivers take the record for that of a spammer; forgeries pass.",
                zone_line(domain, f"v=spf1 {_mechanism(sender.address)} ~all"),
            )
        if verdict.word == "pass":
            return Finding("SPF", Level.OK, about, f"The address may send ({verdict.reason}).")
        if verdict.word == "permerror":
            return Finding(
                "SPF", Level.ERROR, about, f"The record cannot be used: {verdict.reason}.",
                "Receivers treat the domain as if it had no SPF record, or refuse its mails.",
                f"Mend the record of {domain}: {record}",
            )  # fmt: skip
        added = zone_line(domain, " ".join(("v=spf1", _mechanism(sender.address), *record.split()[1:])))
        guessed = "" if sender.certain else "If the relay sends from other addresses, name them with --address; else "
        return Finding(
            "SPF", Level.ERROR if sender.certain else Level.WARNING, about,
            f"The address may not send: {verdict.word} ({verdict.reason}).",
            "Mails from it fail SPF, and are refused or filed as spam where DKIM does not speak for them.",
            guessed + added,
        )  # fmt: skip

    def _dkim(self, domain: str) -> Iterator[Finding]:
        if self.settings.dkim_key_file is not None:
            record = public_record(private_key(self.settings.dkim_key_file.read_bytes()))
            yield self._published(keyring.record_name(self.settings.dkim_selector, domain), record)
            return
        found = {keys.state: keys for keys in keyring.sets(self.settings.home, domain)}
        for name, wanted in (found["signing"].records() if "signing" in found else {}).items():
            yield self._published(name, wanted)
        if "waiting" in found:
            ready = all(_has(self.resolver, *record) for record in found["waiting"].records().items())
            yield Finding(
                "DKIM", Level.WARNING, domain,
                f"Keys {found['waiting'].name} do not sign yet; their records are {'' if ready else 'not '}published.",
                mend=f"newsletter dkim {'activate' if ready else 'show'} {domain}",
            )  # fmt: skip
        elif "signing" not in found:
            yield Finding(
                "DKIM", Level.WARNING, domain, "Mails are not signed here.",
                f"Unless the relay signs them for {domain}, large providers refuse them or file them as spam, and one "
                "click to leave is not offered.",
                f"newsletter dkim create {domain}",
            )  # fmt: skip

    def _published(self, name: str, wanted: str) -> Finding:
        published = self.resolver.texts(name)
        if len(published) == 1 and same_key(published[0], wanted):
            return Finding("DKIM", Level.OK, name, "The record holds the key that signs.")
        what = "There is no record" if not published else "The record holds another key"
        if len(published) > 1:
            what = f"There are {len(published)} records instead of one"
        return Finding(
            "DKIM", Level.ERROR, name, f"{what}, and mails are signed.",
            "Every signature of this key fails: mails count as forged, and with a strict DMARC policy are refused.",
            zone_line(name, wanted),
        )  # fmt: skip

    def _dmarc(self, domain: str) -> Iterator[Finding]:
        policy = dmarc.policy_of(self.resolver, domain)
        proposed = f"v=DMARC1; p=none; rua=mailto:dmarc@{domain}"
        if policy is None:
            yield Finding(
                "DMARC", Level.ERROR, domain, "There is no DMARC record, here or above.",
                "Large providers ask it of whoever sends to many: they slow the mails down, file them as spam or "
                "refuse them.",
                zone_line(f"_dmarc.{domain}", proposed),
            )  # fmt: skip
            return
        if not policy.word:
            what = f"{len(policy.records)} records instead of one" if len(policy.records) > 1 else policy.records[0]
            yield Finding(
                "DMARC", Level.ERROR, domain, f"{policy.name} cannot be used: {what}.",
                "Receivers treat the domain as if it had no policy.", zone_line(policy.name, proposed),
            )  # fmt: skip
            return
        if not self._aligned(domain):
            strict = policy.word != "none"
            yield Finding(
                "DMARC", Level.ERROR if strict else Level.WARNING, domain,
                f"The policy is {policy.word}; neither SPF nor a signature made here is known to speak for the domain.",
                "Unless the relay signs for this domain, mails fail DMARC"
                + (f", and receivers {policy.word} them." if strict else "."),
                f"newsletter dkim create {domain}",
            )  # fmt: skip
            return
        better = "" if policy.reports else "Add rua=mailto:… to get reports of who sends in your name. "
        if policy.word == "none":
            better += "Once reports show nothing strange, ask for p=quarantine, so that forgeries are filed as spam."
        yield Finding(
            "DMARC", Level.OK, domain,
            f"The policy is {policy.word}; sender, return path and signature are of one domain.", mend=better.strip(),
        )  # fmt: skip

    def _aligned(self, domain: str) -> bool:
        """Whether something speaks for the domain: a signature that can be checked, or SPF for every address."""
        levels = {one.level for one in self._dkim(domain)}
        if Level.OK in levels and Level.ERROR not in levels:
            return True
        senders = self.senders()
        return bool(senders) and all(spf.evaluate(self.resolver, domain, one.address).word == "pass" for one in senders)

    def _mx(self, domain: str) -> Iterator[Finding]:
        servers = self.resolver.exchangers(domain)
        lost = (
            "Bounces and answers are lost, so that dead addresses are mailed again and again; many receivers refuse a "
            "sender that takes no mail."
        )
        proposed = f"{domain}. IN MX 10 mail.{domain}."
        if servers == ["."]:
            yield Finding("MX", Level.ERROR, domain, "The domain says that it takes no mail.", lost, proposed)
        elif not servers and not self.resolver.addresses(domain):
            yield Finding("MX", Level.ERROR, domain, "There is no MX record, and no address.", lost, proposed)
        elif not servers:
            found = "There is no MX record; servers try the address of the domain itself."
            yield Finding("MX", Level.WARNING, domain, found, lost, proposed)
        elif missing := [name for name in servers if not self.resolver.addresses(name)]:
            level = Level.ERROR if len(missing) == len(servers) else Level.WARNING
            mend = f"Give {missing[0]} an A record, or take it out of the MX records of {domain}."
            yield Finding("MX", level, domain, f"{', '.join(missing)} has no address.", lost, mend)
        else:
            yield Finding("MX", Level.OK, domain, f"What comes back goes to {servers[0]}.")

    def ptr(self) -> Iterator[Finding]:
        """Whether the addresses that mails come from have names that lead back to them (RFC 1912, 2.1)."""
        for one in self.senders():
            about = f"{one.address} ({one.of})"
            names = self.resolver.names_of(one.address)
            good = [name for name in names if one.address in self.resolver.addresses(name)]
            if good:
                yield Finding("PTR", Level.OK, about, f"It is called {good[0]}, which leads back to it.")
                continue
            what = f"Its name {names[0]} does not lead back to it." if names else "It has no name (PTR record)."
            yield Finding(
                "PTR", Level.ERROR if one.certain else Level.WARNING, about, what,
                "Gmail and many others refuse mails from an address without a name of its own.",
                f"{names[0]}. IN {'AAAA' if ':' in one.address else 'A'} {one.address}" if names
                else "Whoever gave you the address sets its PTR record, to the name that your server says in EHLO.",
            )  # fmt: skip


def _mechanism(address: str) -> str:
    return f"ip6:{address}" if ":" in address else f"ip4:{address}"


def _has(resolver: Resolver, name: str, wanted: str) -> bool:
    published = resolver.texts(name)
    return len(published) == 1 and same_key(published[0], wanted)
