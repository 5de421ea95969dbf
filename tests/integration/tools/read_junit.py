"""Reads a JUnit report with two readers that know nothing of each other, and prints as JSON what
each of them makes of it."""
import json
import sys

import junitparser
import xunitparser


def by_junitparser(path):
    suites = list(junitparser.JUnitXml.fromfile(path))
    assert len(suites) == 1, suites
    suite = suites[0]
    kinds = {"Failure": "failure", "Error": "error", "Skipped": "skipped"}

    def outcome(case):
        results = case.result
        assert len(results) <= 1, results
        return kinds[type(results[0]).__name__] if results else "passed"

    def reruns(case):
        return {
            name: len(case._elem.findall(name))
            for name in ("flakyFailure", "flakyError", "rerunFailure", "rerunError")
            if case._elem.findall(name)
        }

    cases = list(suite)
    return {
        "name": suite.name,
        "sums": [suite.tests, suite.failures, suite.errors, suite.skipped],
        "properties": {prop.name: prop.value for prop in suite.properties()},
        "cases": {case.name: outcome(case) for case in cases},
        "messages": {case.name: case.result[0].message for case in cases if case.result},
        "types": {case.name: case.result[0].type for case in cases if case.result},
        "out": {case.name: case.system_out for case in cases if case.system_out},
        "err": {case.name: case.system_err for case in cases if case.system_err},
        "times": {case.name: case.time for case in cases},
        "reruns": {case.name: reruns(case) for case in cases if reruns(case)},
    }


def by_xunitparser(path):
    with open(path, encoding="utf-8") as file:
        suite, result = xunitparser.parse(file)
    cases = {case.methodname: case for case in suite}
    kinds = {"success": "passed", "failed": "failure", "failure": "failure", "error": "error", "skipped": "skipped"}
    return {
        "name": suite.name,
        "sums": [result.testsRun, len(result.failures), len(result.errors), len(result.skipped)],
        "properties": dict(suite.properties),
        "cases": {name: kinds[case.result] for name, case in cases.items()},
        "messages": {name: case.message for name, case in cases.items() if case.message},
        "types": {name: case.typename for name, case in cases.items() if case.typename},
        "out": {name: case.stdout for name, case in cases.items() if case.stdout},
        "err": {name: case.stderr for name, case in cases.items() if case.stderr},
        "times": {name: case.time.total_seconds() for name, case in cases.items()},
    }


print(json.dumps({"junitparser": by_junitparser(sys.argv[1]), "xunitparser": by_xunitparser(sys.argv[1])}))
