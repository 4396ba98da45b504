"""`python -m tests.bench.formulas`: our numbers beside those of other people's packages on the same input, as a Markdown table.

Not timed, and no area of the bench: it says how far two implementations of one definition are apart, over several draws, and
where they are apart on purpose, which constant does it. A package that is not there is a line that says so. What has no
package (the losses and metrics inside of TRL and verl) is written here from its published definition.
"""

from __future__ import annotations

import torch
from tests.bench.formulas import hessian, logits, policy, routing, samples, spectra, views, weights
from tests.bench.formulas.comparison import line

torch.set_num_threads(1)


def main() -> None:
    """Print the table."""
    print("| statistic | beside | on | ours | theirs | largest difference |")
    print("|---|---|---|---|---|---|")
    for subject in (spectra, views, samples, weights, routing, logits, policy, hessian):
        for one in subject.comparisons():
            print(line(one), flush=True)


if __name__ == "__main__":
    main()
