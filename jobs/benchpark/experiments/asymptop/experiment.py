# Asymptop for Benchpark: n keys shared out over ranks. Strong: n stays; weak: it grows with them; throughput: alone.
from benchpark.directives import variant
from benchpark.experiment import Experiment
from benchpark.programming_model import ProgrammingModel, ProgrammingModelType
from benchpark.scaling import Scaling, ScalingMode


def scaled(var, itr, dim, scaling_factor):
    return var.val(dim) * scaling_factor


def unchanged(var, itr, dim, scaling_factor):
    return var.val(dim)


class Asymptop(
    Experiment,
    ProgrammingModel(ProgrammingModelType.Mpionly, ProgrammingModelType.Openmp, ProgrammingModelType.Cuda),
    Scaling(ScalingMode.Strong, ScalingMode.Weak, ScalingMode.Throughput),
):
    variant("workload", default="bench", values=("bench", "study"), description="kernels timed, or errors measured")
    variant("version", default="main", values=("main",), description="app version")

    def compute_applications_section(self):
        gpus = self.spec.satisfies("+cuda")
        resources = "n_gpus" if gpus else "n_ranks"
        self.add_experiment_variable(resources, 1, True)
        self.add_experiment_variable("n", 2**16 if self.spec.satisfies("exec_mode=test") else 2**22, True)
        if self.spec.satisfies("+openmp"):
            self.add_experiment_variable("n_threads_per_proc", 2, True)
            self.set_environment_variable("OMP_NUM_THREADS", "{n_threads_per_proc}")

        self.register_scaling_config(
            {
                ScalingMode.Strong: {resources: scaled, "n": unchanged},
                ScalingMode.Weak: {resources: scaled, "n": scaled},
                ScalingMode.Throughput: {resources: unchanged, "n": scaled},
            }
        )
        self.set_required_variables(
            n_resources=f"{{{resources}}}",
            process_problem_size=f"{{n}}/{{{resources}}}",
            total_problem_size="{n}",
        )

    def compute_package_section(self):
        self.add_package_spec(self.name, [f"asymptop{self.determine_version()}"])
