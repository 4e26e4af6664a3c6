"""The schema of HTTPRoutes, by the Gateway API's definition (1.5, standard channel): exact where this server honours a
field. Each CEL rule stands with its text; rules of foreign fields are left out, as those fields are refused anyway."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from embedded.control_plane.kubernetes.schema_words import LIST_TYPE, Rule, Schema, list_of, number, object_of, text

_ATOMIC: Schema = {LIST_TYPE: "atomic"}
_DOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
_GROUP: Schema = {"maxLength": 253, "pattern": f"^$|^{_DOMAIN}"}
_KIND: Schema = {"maxLength": 63, "minLength": 1, "pattern": "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$"}
_NAME: Schema = {"maxLength": 253, "minLength": 1}
_SECTION: Schema = {"maxLength": 253, "minLength": 1, "pattern": f"^{_DOMAIN}"}
_NAMESPACE: Schema = {"maxLength": 63, "minLength": 1, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}
_PORT: Schema = {"minimum": 1, "maximum": 65535}
_ROOT: Schema = {"path": {"type": "PathPrefix", "value": "/"}}
_LITERAL = ("Exact", "PathPrefix")
_PATH_LETTERS = re.compile(r"(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+")
_FILTERS = {
    "RequestHeaderModifier": "requestHeaderModifier",
    "ResponseHeaderModifier": "responseHeaderModifier",
    "RequestMirror": "requestMirror",
    "RequestRedirect": "requestRedirect",
    "URLRewrite": "urlRewrite",
    "ExtensionRef": "extensionRef",
    "CORS": "cors",
}
_UNREPEATED = ("CORS", "RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite")


def _parent_of(reference: Mapping[str, Any]) -> tuple[Any, ...]:
    return (*(reference.get(key) for key in ("group", "kind", "name")), reference.get("namespace") or "")


def _alike_name_sections(parents: Sequence[Mapping[str, Any]]) -> bool:
    named: dict[tuple[Any, ...], bool] = {}
    return all(
        named.setdefault(_parent_of(each), bool(each.get("sectionName"))) == bool(each.get("sectionName"))
        for each in parents
    )


def _are_distinct(parents: Sequence[Mapping[str, Any]]) -> bool:
    return len({(*_parent_of(each), each.get("sectionName") or "") for each in parents}) == len(parents)


_SAME_PARENT = (
    "p1.group == p2.group && p1.kind == p2.kind && p1.name == p2.name && (((!has(p1.__namespace__) || "
    "p1.__namespace__ == '') && (!has(p2.__namespace__) || p2.__namespace__ == '')) || (has(p1.__namespace__) && "
    "has(p2.__namespace__) && p1.__namespace__ == p2.__namespace__ ))"
)
_PARENT_RULES = (
    Rule(
        f"self.all(p1, self.all(p2, {_SAME_PARENT} ? ((!has(p1.sectionName) || p1.sectionName == '') == "
        "(!has(p2.sectionName) || p2.sectionName == '')) : true))",
        "sectionName must be specified when parentRefs includes 2 or more references to the same parent",
        _alike_name_sections,
    ),
    Rule(
        f"self.all(p1, self.exists_one(p2, {_SAME_PARENT} && (((!has(p1.sectionName) || p1.sectionName == '') && "
        "(!has(p2.sectionName) || p2.sectionName == '')) || (has(p1.sectionName) && has(p2.sectionName) && "
        "p1.sectionName == p2.sectionName))))",
        "sectionName must be unique when parentRefs includes 2 or more references to the same parent",
        _are_distinct,
    ),
)


def _of_literal(condition: str, message: str, *, part: str = "", end: str = "") -> Rule:
    """A rule about the value of an Exact or PathPrefix match: it has no such part, or no such end."""

    def holds(path: Mapping[str, Any]) -> bool:
        if path["type"] not in _LITERAL:
            return True
        return not (part and part in path["value"]) and not (end and path["value"].endswith(end))

    return Rule(f"(self.type in ['Exact','PathPrefix']) ? {condition} : true", message, holds)


_ONE_OF = "when type one of ['Exact', 'PathPrefix']"
_PATH_RULES = (
    Rule(
        "(self.type in ['Exact','PathPrefix']) ? self.value.startsWith('/') : true",
        f"value must be an absolute path and start with '/' {_ONE_OF}",
        lambda path: path["type"] not in _LITERAL or path["value"].startswith("/"),
    ),
    *(
        _of_literal(f"!self.value.contains('{part}')", f"must not contain '{part}' {_ONE_OF}", part=part)
        for part in ("//", "/./", "/../", "%2f", "%2F", "#")
    ),
    *(
        _of_literal(f"!self.value.endsWith('{end}')", f"must not end with '{end}' {_ONE_OF}", end=end)
        for end in ("/..", "/.")
    ),
    Rule(
        "self.type in ['Exact','PathPrefix'] || self.type == 'RegularExpression'",
        "type must be one of ['Exact', 'PathPrefix', 'RegularExpression']",
        lambda path: path["type"] in (*_LITERAL, "RegularExpression"),
    ),
    Rule(
        "(self.type in ['Exact','PathPrefix']) ? "
        'self.value.matches(r"""^(?:[-A-Za-z0-9/._~!$&\'()*+,;=:@]|[%][0-9a-fA-F]{2})+$""") : true',
        "must only contain valid characters (matching ^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+$) for "
        "types ['Exact', 'PathPrefix']",
        lambda path: path["type"] not in _LITERAL or _PATH_LETTERS.fullmatch(path["value"]) is not None,
    ),
)
_PORT_RULE = Rule(
    "(size(self.group) == 0 && self.kind == 'Service') ? has(self.port) : true",
    "Must have port for Service reference",
    lambda backend: backend["group"] != "" or backend["kind"] != "Service" or "port" in backend,
)


def _filter_rules(kind: str, field: str) -> tuple[Rule, Rule]:
    """A filter has the settings of its own type, and of no other."""
    return (
        Rule(
            f"!(has(self.{field}) && self.type != '{kind}')",
            f"filter.{field} must be nil if the filter.type is not {kind}",
            lambda each: field not in each or each["type"] == kind,
        ),
        Rule(
            f"!(!has(self.{field}) && self.type == '{kind}')",
            f"filter.{field} must be specified for {kind} filter.type",
            lambda each: field in each or each["type"] != kind,
        ),
    )


def _count(filters: Sequence[Mapping[str, Any]], kind: str) -> int:
    return sum(each["type"] == kind for each in filters)


def _unrepeated(kind: str) -> Rule:
    return Rule(
        f"self.filter(f, f.type == '{kind}').size() <= 1",
        f"{kind} filter cannot be repeated",
        lambda filters: _count(filters, kind) <= 1,
    )


_FILTER_LIST_RULES = (
    Rule(
        "!(self.exists(f, f.type == 'RequestRedirect') && self.exists(f, f.type == 'URLRewrite'))",
        "May specify either httpRouteFilterRequestRedirect or httpRouteFilterRequestRewrite, but not both",
        lambda filters: not (_count(filters, "RequestRedirect") and _count(filters, "URLRewrite")),
    ),
    *map(_unrepeated, _UNREPEATED),
)
_REDIRECT_RULE = Rule(
    "(has(self.backendRefs) && size(self.backendRefs) > 0) ? (!has(self.filters) || self.filters.all(f, "
    "!has(f.requestRedirect))): true",
    "RequestRedirect filter must not be used together with backendRefs",
    lambda rule: not rule.get("backendRefs") or all("requestRedirect" not in each for each in rule.get("filters", ())),
)
_MATCHES_RULE = Rule(
    " + ".join(
        ["(self.size() > 0 ? self[0].matches.size() : 0)"]
        + [f"(self.size() > {index} ? self[{index}].matches.size() : 0)" for index in range(1, 16)]
    )
    + " <= 128",
    "While 16 rules and 64 matches per rule are allowed, the total number of matches across all rules in a route must "
    "be less than 128",
    lambda rules: sum(len(rule["matches"]) for rule in rules) <= 128,
)


def _reference(description: str, *, obeys: tuple[Rule, ...] = (), others: str = "", **more: Schema) -> Schema:
    return object_of(
        description,
        required=("name",),
        obeys=obeys,
        others=others,
        group=text("Empty: a Service is of the core group.", default="", **_GROUP),
        kind=text("Service.", default="Service", **_KIND),
        name=text("<InferenceService>-predictor.", **_NAME),
        namespace=text("That of the route.", **_NAMESPACE),
        port=number("80.", **_PORT),
        **more,
    )


_PARENT = object_of(
    "The gateway.",
    required=("name",),
    group=text("gateway.networking.k8s.io.", default="gateway.networking.k8s.io", **_GROUP),
    kind=text("Gateway.", default="Gateway", **_KIND),
    name=text("kserve-ingress-gateway.", **_NAME),
    namespace=text("kserve.", **_NAMESPACE),
    port=number("Refused here.", **_PORT),
    sectionName=text("Refused here.", **_SECTION),
)
_PATH = object_of(
    "Path.",
    obeys=_PATH_RULES,
    type=text("Exact or PathPrefix.", default="PathPrefix", enum=["Exact", "PathPrefix", "RegularExpression"]),
    value=text("Path.", default="/", maxLength=1024),
) | {"default": _ROOT["path"]}
_MIRROR = object_of(
    "Copies for a backend that has no weight.",
    required=("backendRef",),
    obeys=(
        Rule(
            "!(has(self.percent) && has(self.fraction))",
            "Only one of percent or fraction may be specified in HTTPRequestMirrorFilter",
            lambda mirror: not ("percent" in mirror and "fraction" in mirror),
        ),
    ),
    backendRef=_reference("Who gets the copies.", obeys=(_PORT_RULE,)),
    percent=number("Of how many of 100 requests; absent: of all.", minimum=0, maximum=100),
    others="fraction",
)
_FILTER = object_of(
    "RequestMirror.",
    required=("type",),
    obeys=tuple(rule for kind, field in _FILTERS.items() for rule in _filter_rules(kind, field)),
    type=text("RequestMirror.", enum=list(_FILTERS)),
    requestMirror=_MIRROR,
    others=" ".join(field for field in _FILTERS.values() if field != "requestMirror"),
)
_RULE = object_of(
    "Which requests go where.",
    obeys=(_REDIRECT_RULE,),
    name=text("Of the rule.", **_SECTION),
    matches=list_of(
        "Any of these.",
        object_of("Path.", path=_PATH, others="headers:array method:string queryParams:array"),
        maxItems=64,
        default=[_ROOT],
        **_ATOMIC,
    ),
    backendRefs=list_of(
        "Who answers.",
        _reference(
            "The Service of an InferenceService in Standard mode.",
            obeys=(_PORT_RULE,),
            weight=number("Its share of the sum of all weights.", default=1, minimum=0, maximum=1_000_000),
            others="filters:array",
        ),
        maxItems=16,
        **_ATOMIC,
    ),
    filters=list_of("One RequestMirror.", _FILTER, obeys=_FILTER_LIST_RULES, maxItems=16, **_ATOMIC),
    others="timeouts",
)
SPEC = object_of(
    "How the gateway splits requests.",
    parentRefs=list_of(
        "kserve-ingress-gateway in namespace kserve.", _PARENT, obeys=_PARENT_RULES, maxItems=32, **_ATOMIC
    ),
    rules=list_of(
        "Exactly one.",
        _RULE,
        obeys=(_MATCHES_RULE,),
        minItems=1,
        maxItems=16,
        default=[{"matches": [_ROOT]}],
        **_ATOMIC,
    ),
    others="hostnames:array",
)
FIELDS = {"spec": SPEC, "status": object_of("As the gateway has it.", others="parents:array")}
REQUIRED = ("spec",)
