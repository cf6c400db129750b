"""The instrument measured: how far vdbench's own figures can be trusted, as measures of a suite like any other.

``coverage`` repeats the suite's measures and counts how often their intervals hold the truth; ``false_alarms`` compares
an estimator with itself under another seed; ``power`` plants known differences; ``kills`` kills runs and takes them up
again. Each repetition runs the code that a run runs.
"""
