"""A look at a database that an older service has filled, before the first write; and its repair.

survey.py    one pass over the stocks: what single rows tell, which keys exist twice, which units are meant
layout.py    the server, its collections and indexes
records.py   sync_status and operation_logs
forms.py     the form of each field and how it is brought about; pure, shared by the look and the repair
repair.py    the repairs
"""

from dataclasses import replace
from datetime import UTC, datetime

from stocksync.audit import Actor
from stocksync.stores.mongo.connection import Connection
from stocksync.stores.mongo.doctor.layout import lay_out
from stocksync.stores.mongo.doctor.records import log_findings, status_findings
from stocksync.stores.mongo.doctor.repair import ORDER, Repairer, require_idle
from stocksync.stores.mongo.doctor.survey import survey
from stocksync.stores.report import Finding, RepairReport, Report, Step, by_severity
from stocksync.stores.units import unit_findings


async def examine(connection: Connection) -> Report:
    """Look at everything and write nothing. Raises StoreError."""
    layout = await lay_out(connection)
    seen = await survey(connection)
    findings = [*layout.findings(), *seen.findings()]
    for source, rows in seen.measured.items():
        findings += unit_findings(source, rows, mendable=True)
    findings += [each async for each in status_findings(connection)]
    findings += [each async for each in log_findings(connection)]
    return Report(
        server=layout.server,
        sources=seen.sources,
        findings=by_severity(findings),
        to_create=layout.to_create,
    )


async def repair(connection: Connection, *, apply: bool, units: bool, actor: Actor) -> RepairReport:
    """Do, or only plan, what the look found to be mendable. Raises StoreError, RunInProgress."""
    if apply:
        await require_idle(connection)
    report = await examine(connection)
    steps = _plan(report)
    if not apply:
        return RepairReport(applied=False, steps=steps, left=report)
    repairer = Repairer(connection, actor, datetime.now(UTC))
    done = [
        replace(step, done=await repairer.carry_out(step.code)) if units or not step.needs_units else step
        for step in steps
    ]
    return RepairReport(applied=True, steps=tuple(done), left=await examine(connection))


def _plan(report: Report) -> tuple[Step, ...]:
    """One step a kind of finding, in the order in which they have to be done."""
    by_code: dict[str, list[Finding]] = {}
    for finding in report.findings:
        if finding.repair is not None:
            by_code.setdefault(finding.code, []).append(finding)
    return tuple(
        Step(
            code=code,
            repair=by_code[code][0].repair or "",
            count=sum(finding.count for finding in by_code[code]),
            needs_units=by_code[code][0].needs_units,
        )
        for code in ORDER
        if code in by_code
    )
