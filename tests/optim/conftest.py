"""Mixed precision on machines without an accelerator."""

import pytest
import torch


class CPUScaler(torch.amp.GradScaler):
    """The scaler that MMEngine builds, for tensors on the CPU."""

    def __init__(self, **kwargs):
        super().__init__('cpu', **kwargs)


@pytest.fixture
def on_cpu(monkeypatch):
    """MMEngine's mixed precision asks for an accelerator; its scaler runs without."""
    module = 'mmengine.optim.optimizer.amp_optimizer_wrapper'
    monkeypatch.setattr(f'{module}.is_cuda_available', lambda: True)
    monkeypatch.setattr(f'{module}.GradScaler', CPUScaler)
