/** Findings as people and scripts read them. */
import { type ErrorDetails, factsOf } from '@coffer/base/errors.ts';
import {
  type Finding,
  type FindingCode,
  type Severity,
  severityOf,
  titleOf,
} from '@coffer/base/findings.ts';

/** A finding in a document for scripts. */
export interface FindingDocument extends Finding {
  readonly severity: Severity;
  readonly message: string;
}

export function findingDocument(finding: Finding): FindingDocument {
  return { ...finding, severity: severityOf(finding), message: describeFinding(finding) };
}

/** What was found, with what is known of it, and what to do about it. */
export function describeFinding(finding: Finding): string {
  const remedy = REMEDIES[finding.code]?.(finding);
  const { remedy: _shown, ...facts } = finding.details;
  const said = `${titleOf(finding.code)}${factsOf(facts)}`;
  return remedy === undefined ? said : `${said}; ${remedy}`;
}

function toTrackChanges(remedy: ErrorDetails[string]): string | undefined {
  return remedy === undefined ? undefined : `to have only its changes read, ${String(remedy)}`;
}

type Remedy = (finding: Finding) => string | undefined;

const REMEDIES: Readonly<Partial<Record<FindingCode, Remedy>>> = {
  'point-still-held': ({ subject, details }) =>
    `coffer release ${subject.name} --as ${String(details['holder'])}`,
  'point-lost': () => 'copy it back from another repository; `coffer repair` gives it up',
  'index-hidden': () => 'run `coffer repair`',
  'points-hidden': () => 'run `coffer verify` and `coffer repair` with the passphrase',
  'image-outdated': ({ details }) => toTrackChanges(details['remedy']),
};
