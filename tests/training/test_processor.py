"""The processor of a run has a name and the instructions that PyTorch uses."""

from training import processor


def test_a_processor_has_a_name_and_its_instructions() -> None:
    model, instructions = processor.processor().rsplit(", ", 1)
    assert model
    assert instructions.replace("_", "").isalnum()
