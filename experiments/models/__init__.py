from experiments.models.experiment import Experiment, ExperimentComment, ExperimentVersion

__all__ = ["Experiment", "ExperimentComment", "ExperimentVersion"]
