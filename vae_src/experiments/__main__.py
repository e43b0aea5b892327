"""The command line of the recorded runs."""

import argparse
import sys

from vae_src import experiments
from vae_src.data import ImageData, mnist
from vae_src.distributed import process_group, rank
from vae_src.experiments import inference_gaps, iwae_table1, runs
from vae_src.experiments.records import write_record


def main() -> None:
    """Run the experiments named on the command line."""
    names = [*runs.RUNS, inference_gaps.NAME, "digit-classifier", "iwae-table1"]
    parser = argparse.ArgumentParser(prog="python -m vae_src.experiments", description=experiments.__doc__)
    parser.add_argument("names", nargs="+", metavar="NAME", choices=names, help=", ".join(names))
    parser.add_argument("--device", help="cpu or cuda; by default a GPU if there is one")
    table = parser.add_argument_group("iwae-table1", iwae_table1.__doc__)
    table.add_argument("--rows", nargs="+", type=int, default=[1, 5, 50], help="k of each row (1 5 50)")
    table.add_argument("--seeds", nargs="+", type=int, default=[0], help="one model a row and seed (0)")
    table.add_argument("--stages", type=int, default=iwae_table1.STAGES, help="of the schedule (8)")
    table.add_argument("--batch-size", type=int, default=100, help="images a step (100; the paper's is 20)")
    arguments = parser.parse_args()
    with process_group() as device:
        run(arguments, mnist(device=arguments.device or device))


def run(arguments: argparse.Namespace, data: ImageData) -> None:
    """Run what was asked for; under ``torchrun`` the process of rank 0 also measures and writes."""
    if data.source == "sample":
        sys.exit("The whole of MNIST is needed for a recorded run: see book/running.md for ways to get it.")
    for name in arguments.names:
        if name == "iwae-table1":
            for seed in arguments.seeds:
                for k in arguments.rows:
                    iwae_table1.run(iwae_table1.Cell(k, seed, arguments.stages, arguments.batch_size), data)
        elif name == inference_gaps.NAME:
            inference_gaps.run(data)
        else:
            result = runs.train_classifier(data) if name == "digit-classifier" else runs.train(name, data)
            if rank() == 0:
                write_record(name, result, data)


if __name__ == "__main__":
    main()
