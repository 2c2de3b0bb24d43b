from experiments.models.experiment import Experiment, ExperimentComment, ExperimentVersion
from experiments.models.split import Split
from experiments.models.study import Study, Trial

__all__ = ["Experiment", "ExperimentComment", "ExperimentVersion", "Split", "Study", "Trial"]
