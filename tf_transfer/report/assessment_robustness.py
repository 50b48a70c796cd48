"""The blocks of an assessment on robustness: shift, trust (calibration) and drift (forgetting)."""

from collections.abc import Mapping

from tf_transfer.report import assessment_plots as plots
from tf_transfer.report.assessment_parts import block, table
from tf_transfer.report.formats import count, decimal, decimals, estimate, percent, points, shares, signed
from tf_transfer.report.plots import reliability
from tf_transfer.report.sections import figure


def shift(record: Mapping, blocks: Mapping) -> dict | None:
    """Returns the block on corruptions and the user's shifted sets; None where neither was measured."""
    found = blocks["shift"]
    corrupted, tables, figures = found["corruptions"], [], []
    if found["sets"]:
        rows = [
            (n, count(s["n"]), *(shares(s["accuracy"][k]) for k in found["kinds"])) for n, s in found["sets"].items()
        ]
        tables.append(table("Your shifted sets", ("set", record["many"], *found["kinds"]), rows))
    if corrupted:
        main = found["kinds"][0]
        told = corrupted["kinds"][main]
        drawn = plots.corruption_map(corrupted["names"], told["accuracy"], told["clean"])
        clean = percent(told["clean"])
        measured = f"{count(corrupted['n'])} {record['split']} {record['many']}"
        caption = f"{main}: accuracy in per cent on {measured}; {clean} clean."
        figures.append(
            figure(
                drawn,
                f"Heat map of accuracy by corruption and severity; mean {percent(told['mean']['value'])}.",
                caption,
            )
        )
        rows = [
            (k, *(shares(c.get(name)) for name in ("clean_accuracy", "mean", "relative_robustness")),
             *(decimals(c.get(name), 2) for name in ("mce", "relative_mce")))
            for k, c in corrupted["kinds"].items()
        ]  # fmt: skip
        header = ("", "clean", "corrupted", "kept", f"error against {corrupted['reference']}", "loss against it")
        tables.append(table("Over all corruptions and severities", header, rows))
        values = [
            (n.replace("_", " "), *(shares(cell) for cell in row))
            for n, row in zip(corrupted["names"], told["cells"], strict=True)
        ]
        header = ("corruption", *map(str, corrupted["severities"]))
        tables.append(table(f"Accuracy of {main} by severity", header, values))
    if not tables:
        return None
    lead = "The fifteen common corruptions at five severities, and sets of your own, on models that never saw them."
    return block("shift", "What a shift costs", lead, figures, tables)


def trust(record: Mapping, blocks: Mapping) -> dict | None:
    """Returns the block on calibration, and on accuracy estimated without labels; None where it was not measured."""
    found, figures = blocks["trust"], []
    main = found["sets"].get(found["split"])
    if not main:
        return None
    for when in ("before", "after"):
        if when in main:
            told = "as it is" if when == "before" else f"divided by temperature {found['temperature']:.2f}"
            drawn = reliability(main[when]["reliability"], f"trust-{when}")
            figures.append(
                figure(drawn, f"Reliability diagram, {told}.", f"Logits {told}, {found['split']} {record['many']}.")
            )
    rows = [
        (f"{name}, {when}", count(s["n"]), *(decimals(s[when][m]) for m in ("nll", "brier", "ece", "adaptive_ece")))
        for name, s in found["sets"].items()
        for when in ("before", "after")
        if when in s
    ]
    tables = [table("Calibration", ("set", record["many"], "NLL", "Brier", "ECE", "adaptive ECE"), rows)]
    lead = "Whether its confidence is what it claims, and stays so under shift."
    if found["temperature"]:
        low, high = found["temperature_interval"]
        held = f"{count(found['validation'])} validation {record['many']}" if "validation" in found else "validation"
        lead += f" Temperature {found['temperature']:.2f} ({low:.2f} to {high:.2f}), fitted on {held}."
    for when in ("before", "after"):
        if when in main:
            tables.append(_bins(main[when]["reliability"], when, record["many"]))
    if found["estimates"]:
        error = found["estimate_error"]
        off, low, high = (points(error[end]).lstrip("+") for end in ("value", "low", "high"))
        lead += f" Accuracy estimated without labels (ATC) is off by {off} points ({low} to {high}) in the mean "
        lead += f"over {count(error['n'])} sets."
        figures.append(
            figure(
                plots.estimates(found["estimates"]), "Scatter of estimated over true accuracy.", "A dot a shifted set."
            )
        )
        told = [
            (e["set"].replace("_", " "), count(e["n"]),
             *(shares(estimate(e[k], e.get(f"{k}_interval"))) for k in ("estimate", "accuracy")))
            for e in found["estimates"]
        ]  # fmt: skip
        tables.append(table("Accuracy without labels", ("set", record["many"], "estimated", "true"), told))
    return block("trust", "How far to trust it", lead, figures, tables)


def _bins(found: Mapping, when: str, many: str) -> dict:
    edges = found["edges"]
    # Assessments of older versions have no intervals.
    intervals = found.get("interval") or [None] * len(found["count"])
    rows = [
        (f"{percent(edges[i], 0)} to {percent(edges[i + 1], 0)}", count(n), percent(found["confidence"][i]),
         shares(estimate(found["accuracy"][i], ends)) if ends else percent(found["accuracy"][i]))
        for i, (n, ends) in enumerate(zip(found["count"], intervals, strict=True))
    ]  # fmt: skip
    return table(f"By confidence, {when} temperature", ("bin", many, "confidence", "accuracy"), rows)


def drift(record: Mapping, blocks: Mapping) -> dict | None:
    """Returns the block on what fine-tuning changed and forgot; None where nothing was fine-tuned."""
    found, figures, tables = blocks["drift"], [], []
    if not found:
        return None
    rows = [
        (f"{s['stage']}", count(s["parameters"]), decimal(s["weight_distance"]), decimals(s["cka"]))
        for s in found["stages"]
    ]
    tables.append(table("By stage", ("stage", "parameters", "weights moved", "CKA"), rows))
    figures.append(
        figure(
            plots.stages(found["stages"]),
            "Line chart of CKA and weight distance by stage.",
            f"Fine-tuned against pretrained; CKA on {count(found['n'])} training {record['many']}.",
        )
    )
    lead = "What fine-tuning changed."
    if kept := found.get("retention"):
        before, after = (percent(kept[when]["value"]) for when in ("before", "after"))
        measured = f"{count(kept['before']['n'])} {kept['split']} {record['many']} of the source"
        lead += f" On {measured}, under its own head, {before} became {after}."
        tables.append(
            table(
                "The source",
                ("before", "after", "lost, points"),
                [(shares(kept["before"]), shares(kept["after"]), signed(kept["lost"]))],
            )
        )
    if between := found.get("interpolation"):
        figures.append(figure(
            plots.interpolation(between["alphas"], between["accuracy"], between["chosen"]),
            "Line chart of accuracy between the head-only and the fine-tuned model.",
            "WiSE-FT: weights on the line between the two; the dashed share is validation's choice.",
        ))  # fmt: skip
        rows = [
            (f"{a:g}", *(shares(e[i]) for e in between["accuracy"].values())) for i, a in enumerate(between["alphas"])
        ]
        tables.append(table("Between head and whole network", ("share", *between["accuracy"]), rows))
    return block("drift", "What it changed and forgot", lead, figures, tables)
