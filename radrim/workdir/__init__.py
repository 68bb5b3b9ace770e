"""The work directory of a run, from which an interrupted run resumes."""
